"""What other programs take: masks in their formats, the ONNX file, IRN's weights, the archive of the VOC server."""
