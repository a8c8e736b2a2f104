"""What components write and later ones read: names of files, digests, SavedModels, labels."""
