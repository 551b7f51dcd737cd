"""Lets twistd find ``twistd imaginator``; the module is named by a string, so that nothing is imported for --help."""

from twisted.application.service import ServiceMaker

imaginator = ServiceMaker(
    "imaginator", "imaginator.service.tap", "Builds operating-system images from manifests kept in Git.", "imaginator"
)
