"""Files and pixels: datasets, transforms, and the seed and mask files that stages hand to each other."""
