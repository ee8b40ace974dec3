"""Optional packages: what brings each, and how a missing one is told."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from model.errors import MissingDependencyError

SERVICE_EXTRA = "'devrec-agent[service]'"  #: quoted for a shell, as all of :data:`INSTALLS`

#: What to install when a package is missing.
INSTALLS: Mapping[str, str] = MappingProxyType(
    {
        "torch": "'devrec-agent[train]'",
        "lightning": "'devrec-agent[train]'",
        "sklearn": "'devrec-agent[train]'",
        "onnx": "'devrec-agent[export]'",
        "jinja2": "'devrec-agent[report]'",
        "matplotlib": "'devrec-agent[report]'",
        "paho": SERVICE_EXTRA,
        "prometheus_client": SERVICE_EXTRA,
    }
)

#: Sections of the configuration that need a package of the service's extra, and the module.
SECTION_MODULES: Mapping[str, str] = MappingProxyType(
    {"mqtt": "paho.mqtt.client", "prometheus": "prometheus_client"}
)


def missing_dependency(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """What to tell the user about a module that was not found.

    Returns:
        the error to raise in its place; ``None`` if the module is of no optional package, and its
        absence a mistake of ours.
    """
    package = (error.name or "").split(".")[0]
    if package not in INSTALLS:
        return None
    return MissingDependencyError(
        f"this needs {package}, which is missing: pip install {INSTALLS[package]}"
    )
