# All images, for amd64 and arm64, each with a bill of materials and with provenance:
#
#   docker buildx bake -f docker/bake.hcl --push            with REGISTRY, TAG and so on from the environment
#   docker buildx bake -f docker/bake.hcl frontend --load --set '*.platform=linux/amd64' --set '*.attest='
#
# Attestations and several platforms need a builder of the driver docker-container, or Docker's containerd image store.

variable "REGISTRY" {
  default = "localhost"
}

variable "REPOSITORY" {
  default = "parley"
}

variable "VERSION" {
  default = "0.1.0"
}

variable "TAG" {
  default = VERSION
}

variable "REVISION" {
  default = "unknown"
}

variable "SOURCE" {
  default = "unknown"
}

group "default" {
  targets = ["image"]
}

target "image" {
  matrix = {
    name = [
      "parley", "addressbook", "registrar", "presence", "messaging", "conference", "immcu", "avedge", "frontend", "web",
    ]
  }
  name       = name
  context    = "."
  dockerfile = "docker/Dockerfile"
  target     = name
  tags       = ["${REGISTRY}/${REPOSITORY}/${name}:${TAG}"]
  platforms  = ["linux/amd64", "linux/arm64"]
  args = {
    VERSION  = VERSION
    REVISION = REVISION
    SOURCE   = SOURCE
  }
  attest = ["type=sbom", "type=provenance,mode=max"]
}
