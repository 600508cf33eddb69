"""Every service of the product, found through the generated code."""

import importlib
import pkgutil

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

import greenroom


def all_services() -> list[ServiceDescriptor]:
    """Every service below the package ``greenroom``, by name."""
    found: dict[str, ServiceDescriptor] = {}
    for module in pkgutil.walk_packages(greenroom.__path__, "greenroom."):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(module.name).DESCRIPTOR
            for service in file.services_by_name.values():
                found[service.full_name] = service
    return [found[name] for name in sorted(found)]


def all_methods() -> list[MethodDescriptor]:
    """Every method of every service."""
    return [method for service in all_services() for method in service.methods]
