"""The process of `tests.emulators.pubsub`: Pub/Sub and Cloud Tasks on one port, and HTTP on another.

HTTP serves the publish method that tasks call, ``POST /v1/TOPIC:publish``, Google's certificates, ``GET /certs``, and
below ``/control`` what tests need: the clock, failures to come, and counts of requests.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any, cast

import grpc
from google.cloud.tasks_v2 import types as tasks
from google.pubsub_v1 import types as pubsub

from tests.emulators.google_cloud import CallError, Code, Context, Failure, Google

UNTYPED = ("google.rpc.error_details_pb2", "google.rpc.status_pb2", "grpc_status.rpc_status", "google.protobuf.any_pb2")

PUBLISHER: Mapping[str, tuple[Any, Any]] = {
    "CreateTopic": (pubsub.Topic, Google.create_topic),
    "GetTopic": (pubsub.GetTopicRequest, Google.get_topic),
    "ListTopicSubscriptions": (pubsub.ListTopicSubscriptionsRequest, Google.list_topic_subscriptions),
    "Publish": (pubsub.PublishRequest, Google.publish),
}
SUBSCRIBER: Mapping[str, tuple[Any, Any]] = {
    "CreateSubscription": (pubsub.Subscription, Google.create_subscription),
    "GetSubscription": (pubsub.GetSubscriptionRequest, Google.get_subscription),
    "DeleteSubscription": (pubsub.DeleteSubscriptionRequest, Google.delete_subscription),
    "ModifyPushConfig": (pubsub.ModifyPushConfigRequest, Google.modify_push_config),
    "Acknowledge": (pubsub.AcknowledgeRequest, Google.acknowledge),
    "ModifyAckDeadline": (pubsub.ModifyAckDeadlineRequest, Google.modify_ack_deadline),
}
TASKS: Mapping[str, tuple[Any, Any]] = {
    "CreateQueue": (tasks.CreateQueueRequest, Google.create_queue),
    "GetQueue": (tasks.GetQueueRequest, Google.get_queue),
    "CreateTask": (tasks.CreateTaskRequest, Google.create_task),
    "DeleteTask": (tasks.DeleteTaskRequest, Google.delete_task),
    "ListTasks": (tasks.ListTasksRequest, Google.list_tasks),
}


def _serialize(answer: Any) -> bytes:
    """Serialize a response: a protobuf message, or a proto-plus message of Google's libraries."""
    if hasattr(answer, "SerializeToString"):
        return bytes(answer.SerializeToString())
    message: Any = cast("Any", type(answer))
    return bytes(message.serialize(answer))


def _unary(google: Google, method: str, read: Any, do: Callable[..., Any]) -> Any:
    def call(request: Any, context: Context) -> Any:
        try:
            with google.changed:
                google.requests[method] += 1
                google.fail(method, request, done=False)
                if do is not Google.pull:
                    answer = do(google, request)
                    google.fail(method, request, done=True)
                    return answer
            return google.pull(request, context)
        except CallError as error:
            return _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=read.deserialize, response_serializer=_serialize
    )


def _streaming(google: Google) -> Any:
    def call(requests: Iterator[Any], context: Context) -> Iterator[Any]:
        try:
            yield from google.streaming_pull(requests, context)
        except CallError as error:
            _abort(context, error)

    read = pubsub.StreamingPullRequest.deserialize
    return grpc.stream_stream_rpc_method_handler(call, read, _serialize)


def _abort(context: Context, error: CallError) -> Any:
    if not error.receipts:
        return context.abort(error.code, error.text)
    details, statuses, rpc, anything = (import_module(name) for name in UNTYPED)
    metadata = dict(error.receipts)
    packed = anything.Any()
    packed.Pack(details.ErrorInfo(reason="INVALID_ACK_ID", domain="pubsub.googleapis.com", metadata=metadata))
    status = statuses.Status(code=error.code.value[0], message=error.text, details=[packed])
    return context.abort_with_status(rpc.to_status(status))


def serve_calls(google: Google, port: int) -> Any:
    """Start the gRPC server on `port` of loopback, and return it."""
    sizes = [("grpc.max_receive_message_length", 20 << 20), ("grpc.max_send_message_length", 20 << 20)]
    server = grpc.server(ThreadPoolExecutor(64), options=sizes)
    for service, methods in (
        ("google.pubsub.v1.Publisher", PUBLISHER),
        ("google.pubsub.v1.Subscriber", {**SUBSCRIBER, "Pull": (pubsub.PullRequest, Google.pull)}),
        ("google.cloud.tasks.v2.CloudTasks", TASKS),
    ):
        handlers = {name: _unary(google, name, read, do) for name, (read, do) in methods.items()}
        if service.endswith("Subscriber"):
            handlers["StreamingPull"] = _streaming(google)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def request_handler(google: Google) -> type[BaseHTTPRequestHandler]:
    """Return the handler of HTTP requests."""

    class RequestHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            match self.path:
                case "/certs":
                    google.requests["GET /certs"] += 1
                    self._reply(200, google.signer.certificates())
                case "/control/now":
                    self._reply(200, google.clock())
                case "/control/requests":
                    self._reply(200, dict(google.requests))
                case _:
                    self._reply(404, None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            with google.changed:
                if self.path.startswith("/v1/") and self.path.endswith(":publish"):
                    self._publish(self.path.removeprefix("/v1/").removesuffix(":publish"), body)
                    return
                match self.path:
                    case "/control/advance":
                        google.advance(body["seconds"])
                    case "/control/freeze":
                        google.clock.frozen = float(int(time.time()))
                    case "/control/fail":
                        google.failures.append(Failure(**body))
                    case "/control/repeat-acked":
                        google.repeats_acked = body["on"]
                    case "/control/outstanding":
                        self._reply(200, len(google.subscriptions[body["subscription"]].outstanding))
                        return
                    case "/control/token":
                        self._reply(200, google.signer.token(**body))
                        return
                    case _:
                        self._reply(404, None)
                        return
                self._reply(200, google.clock())

        def _publish(self, topic: str, body: Any) -> None:
            google.requests["HTTP publish"] += 1
            if not str(self.headers.get("Authorization", "")).startswith("Bearer ya29."):
                self._reply(401, None)
                return
            messages = [
                pubsub.PubsubMessage(
                    data=base64.b64decode(each["data"]),
                    ordering_key=each.get("orderingKey", ""),
                    attributes=each.get("attributes", {}),
                )
                for each in body["messages"]
            ]
            try:
                google.fail("HTTP publish", body, done=False)
                response = google.publish(pubsub.PublishRequest(topic=topic, messages=messages))
            except CallError as error:
                self._reply(404 if error.code is Code.NOT_FOUND else 503, {"error": error.text})
                return
            self._reply(200, {"messageIds": list(response.message_ids)})

        def _reply(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "public, max-age=3600")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return RequestHandler


class Http(ThreadingHTTPServer):
    """An HTTP server with a backlog for all tasks dispatched at once; by default the sixth connection is refused."""

    request_queue_size = 128


def main(calls: int, http: int) -> None:
    google = Google()
    server = serve_calls(google, calls)
    threading.Thread(target=google.run, daemon=True).start()
    threading.Thread(target=Http(("127.0.0.1", http), request_handler(google)).serve_forever, daemon=True).start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
