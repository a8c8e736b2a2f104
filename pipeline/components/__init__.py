"""TFX components of this pipeline that TFX does not have, or has with fewer checks."""
