"""The worker that tells who speaks when, on sherpa-onnx.

    file → a process for each: decode → chunks of minutes, cut where it is quiet → turns and voices → the same voices again

A file is never whole in memory. sherpa-onnx keeps Python's lock while it works on a chunk, so it works in a process of its own.
"""
