"""The value of pixels that do not count, in truth, in pseudo masks and in predictions."""

IGNORE = 255
