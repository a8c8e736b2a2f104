"""What photos come from: folders, CSV tables, drawn samples."""
