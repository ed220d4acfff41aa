"""Writes networks as ONNX files and checks each against the model that it came from."""
