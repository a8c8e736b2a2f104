"""Sources of photos: folders, CSV tables, drawn samples."""
