//! Volumes on disk as a stream of slices: reading in the model's orientation, writing labels back in the file's.
