"""The architectures to choose from by name: one a module, the module's name is the model's.

To add one, put `<name>.py` here with

- `IMAGE_SIZE`: the side in pixels of the images that it takes, where the config names none;
- `TRAINING`, a `registry.Training`: the settings that suit it;
- `build(image_size, num_classes, **arguments) -> tf_keras.Model`, from float32
  [batch, image_size, image_size, 3] in 0..255 to float32 probabilities [batch, num_classes].

Normalisation and augmentation belong inside the model, so that serving needs nothing else. Import
TensorFlow inside `build`: the config reads the other two, in commands that do not need it.

A pretrained one has three things more:

- `build` returns a `models.transfer.Pretrained`: the backbone, the head, and which layers of the
  backbone may be fine-tuned. `TRAINING` is then that of the head;
- `FINE_TUNING`, a `registry.Training`: the settings of fine-tuning;
- `find_weights(**arguments)`, which takes the arguments of `build` and returns a
  `models.backbones.package.Weights`, or None where these arguments ask for no weights. It raises
  ValueError where the weights are missing or altered; it is called before a run starts.
"""
