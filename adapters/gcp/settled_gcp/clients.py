"""Create the generated clients of Google's services.

Google's packages are imported when a client is created, not with this module: they are slow to import, and optional.
They have hardly any types.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from attrs import frozen

from settled.errors import BackendConfigError
from settled_gcp.errors import translated

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@frozen
class Service:
    """A service of Google's: the module of its generated client, its name there, and the pip extra that installs it."""

    module: str
    name: str
    extra: str = "gcp"


FIRESTORE = Service("google.cloud.firestore_v1.services.firestore", "Firestore")
FIRESTORE_ADMIN = Service("google.cloud.firestore_admin_v1.services.firestore_admin", "FirestoreAdmin")
PUBLISHER = Service("google.pubsub_v1.services.publisher", "Publisher")
SUBSCRIBER = Service("google.pubsub_v1.services.subscriber", "Subscriber")
TASKS = Service("google.cloud.tasks_v2.services.cloud_tasks", "CloudTasks", "gcp-tasks")


def default_credentials() -> Any:
    """Return the credentials that ``google.auth.default`` finds.

    Raises:
        AccessDeniedError: there are none.
    """
    with translated("looking for credentials", repeatable=True):
        credentials, _ = import_module("google.auth").default(scopes=SCOPES)
    return credentials


def client_of(
    service: Service, credentials: Any = None, *, endpoint: str | None = None, emulator: str | None = None
) -> Any:
    """Create a client of `service`.

    Args:
        service: such as `PUBLISHER`.
        credentials: the client's; not used with an emulator.
        endpoint: the host, if it is not the service's default.
        emulator: the address HOST:PORT of an emulator to use instead.

    Raises:
        BackendConfigError: its package is not installed.
    """
    try:
        client = getattr(import_module(service.module), f"{service.name}Client")
        transport = getattr(import_module(f"{service.module}.transports"), f"{service.name}GrpcTransport")
    except ImportError as error:
        extra = f"pip install 'settled[{service.extra}]'"
        raise BackendConfigError(f"{service.name}: its package is not installed ({error}). Try: {extra}") from error
    if emulator is not None:
        return client(transport=transport(channel=emulator_channel(emulator)))
    return client(credentials=credentials, client_options={} if endpoint is None else {"api_endpoint": endpoint})


def emulator_channel(address: str) -> Any:
    """Return an unencrypted channel to an emulator, with ``Bearer owner`` as credentials and without size limits."""
    grpc: Any = import_module("grpc")

    class Owner(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc] # both are Any
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            metadata = [*(client_call_details.metadata or ()), ("authorization", "Bearer owner")]
            return continuation(client_call_details._replace(metadata=metadata), request)

        intercept_unary_stream = intercept_unary_unary

    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.intercept_channel(grpc.insecure_channel(address, options=unbounded), Owner())
