"""Models on disk: content-addressed blobs, small manifests, and the ways to fetch them."""
