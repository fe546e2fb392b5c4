"""Files into one checked series, a HU volume on its grid, and a label volume on the same grid."""
