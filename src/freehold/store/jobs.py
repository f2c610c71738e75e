PullJob = object
