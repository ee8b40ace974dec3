"""Who the agent is to a broker, and how it knows the broker: credentials and TLS."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.outlets.outlet import Say
from model.errors import ConfigError

if TYPE_CHECKING:
    from agent.config.settings import MqttSection


class Credentials(NamedTuple):
    """User name and password; never printed."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(...)"


def read_credentials(path: Path) -> Credentials:
    """User name from the first line of a file, password from the second.

    Raises:
        ConfigError: the file cannot be read, or is not of this form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # The error would quote the content.
        raise ConfigError(f"{path}: credentials that are not UTF-8 text") from None
    if len(lines) != 2 or not lines[0]:
        raise ConfigError(f"{path}: needs the user name on line 1 and the password on line 2")
    return Credentials(*lines)


def tls_context(settings: MqttSection) -> ssl.SSLContext:
    """TLS 1.2 or later; the broker's certificate and name are checked.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    ca_file = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise ConfigError(f"{ca_file}: no CA certificates: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None:
        try:
            # An empty password, or OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, lambda: "")
        except OSError as error:
            files = " and ".join(
                str(path) for path in (settings.cert_file, settings.key_file) if path is not None
            )
            raise ConfigError(
                f"{files}: not a certificate with its unencrypted key: {_reason(error)}"
            ) from error
    return context


def check_security(settings: MqttSection, say: Say) -> None:
    """Read all files once at the start, so that mistakes show then, and warn of open ones.

    Raises:
        ConfigError: a file cannot be used.
    """
    if settings.tls:
        tls_context(settings)
    if settings.credentials_file is not None:
        read_credentials(settings.credentials_file)
        if not settings.tls and settings.host not in ("localhost", "127.0.0.1", "::1"):
            say(f"warning: mqtt {settings.host}: without TLS the password can be overheard")
    for path in (settings.credentials_file, settings.key_file):
        if path is not None and path.stat().st_mode & stat.S_IROTH:
            say(f"warning: {path} can be read by everybody on this machine: chmod o= {path}")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unknown format").lower().replace("_", " ")
    return error.strerror or str(error)
