//! Model packages: the manifest, intensity normalisation and the fit of a slice to the net.
