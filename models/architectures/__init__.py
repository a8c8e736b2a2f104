"""The architectures: one module each, whose name is the model's name.

To add an architecture, add `<name>.py` with

- `IMAGE_SIZE`: default height and width of its images in pixels;
- `TRAINING`: its default training settings, a `registry.TrainingSettings`;
- `build(image_size, num_classes, **arguments) -> tf_keras.Model`: returns a model that maps float32
  [batch, image_size, image_size, 3] in 0..255 to float32 probabilities [batch, num_classes].

Put normalisation and augmentation inside the model, so that serving needs no other code. Import
TensorFlow inside `build`: commands that do not need TensorFlow import the module to read the
defaults.

For a pretrained architecture

- `build` returns a `models.transfer.Pretrained`, and `TRAINING` applies to its head;
- `FINE_TUNING` declares the default settings of fine-tuning, a `registry.TrainingSettings`;
- `find_weights(**arguments)` takes the arguments of `build` and returns a
  `models.backbones.package.Weights`, or None for arguments that need no weights. It is called
  before a run starts and raises ValueError if the weights are missing or altered.
"""
