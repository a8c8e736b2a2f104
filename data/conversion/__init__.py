"""From a table of photos to a folder of TFRecords, here or on Beam."""
