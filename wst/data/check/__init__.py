"""Looking at a suite on disk: list lines, image files, sizes, samples."""
