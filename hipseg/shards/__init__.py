"""The packed data set: format, writer, reader, verification, manifest."""
