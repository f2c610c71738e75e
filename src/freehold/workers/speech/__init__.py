"""The worker that speaks: text in, audio out as it is synthesised, by espeak-ng or a model of sherpa-onnx."""
