"""Builds the container images without a daemon and without a registry, by buildah, into archives that a cluster loads.

``build.sh`` is the way in. Base images are made here under their official names, so docker/Dockerfile is built as it is.
"""
