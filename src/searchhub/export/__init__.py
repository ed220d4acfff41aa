"""Networks as ONNX files, checked against the model that they came from."""
