"""The worker that turns speech into text, on sherpa-onnx.

    file → decode (a child: any container to 16 kHz mono) → vad (where speech is) → cutting (pieces, at pauses) → recognise

A file is never whole in memory: pieces are taken from the decoder as fast as they are recognised.
"""
