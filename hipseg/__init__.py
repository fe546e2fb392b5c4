"""hipseg: hip segmentation in CT of children with cerebral palsy, from scans to the methods-comparison table."""

__version__ = "0.1.0"
