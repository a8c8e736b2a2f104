"""The architectures to choose from by name: one a module, the module's name is the model's.

To add one, put `<name>.py` here with

- `TRAINING`, a `registry.Training`: the settings that suit it;
- `build(image_size, num_classes, **arguments) -> tf_keras.Model`, from float32
  [batch, image_size, image_size, 3] in 0..255 to float32 probabilities [batch, num_classes].

Normalisation and augmentation belong inside the model, so that serving needs nothing else.
"""
