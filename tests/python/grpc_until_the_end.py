"""Calls and a stream over gRPC until the server ends: what was acknowledged, and what a watcher saw.

    grpc_until_the_end.py PORT FOLDER

Makes FOLDER/ready when every channel has been answered, and writes each acknowledged payload as a
line of FOLDER/acked. Ends well when every channel was turned away in order.
"""

import pathlib
import queue
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

CHANNELS = 6
PATIENCE = 60
port, folder = sys.argv[1], pathlib.Path(sys.argv[2])
acked, answered, troubles = [], threading.Barrier(CHANNELS + 2), []


def field(number, payload):
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def channel():
    """With a connection of its own, so that every shard has some."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options)


def call(number):
    with channel() as own:
        send = own.unary_unary("/raystack.raccoon.v1beta1.EventService/SendEvent")
        count = 0
        while True:
            payload = b"%d-%d" % (number, count)
            event = field(1, payload) + field(2, b"until-the-end")
            try:
                answer = send(field(3, event), metadata=(("x-user-id", str(number)),), timeout=PATIENCE)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    troubles.append(error)
                return
            if answer[:4] != b"\x08\x01\x10\x01":
                troubles.append(answer)
                return
            acked.append(payload.decode())
            if count == 0:
                answered.wait(PATIENCE)
            count += 1


def stream():
    """One call with many batches, each sent when the one before was answered."""
    with channel() as own:
        send = own.stream_stream("/ringtail.v1.EventStream/SendEvents")
        turns, count = queue.SimpleQueue(), 0
        answers = send(iter(turns.get, None), metadata=(("x-user-id", "stream"),))
        try:
            while True:
                payload = b"stream-%d" % count
                turns.put(field(3, field(1, payload) + field(2, b"until-the-end")))
                answer = next(answers)
                if answer[:4] != b"\x08\x01\x10\x01":
                    troubles.append(answer)
                    return
                acked.append(payload.decode())
                if count == 0:
                    answered.wait(PATIENCE)
                count += 1
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                troubles.append(error)
        finally:
            turns.put(None)


def watch():
    status = health_pb2.HealthCheckResponse
    with channel() as own:
        states = health_pb2_grpc.HealthStub(own).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        seen = [next(states).status]
        answered.wait(PATIENCE)
        (folder / "ready").touch()
        try:
            seen.extend(state.status for state in states)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                troubles.append(error)
        if seen != [status.SERVING, status.NOT_SERVING]:
            troubles.append(f"the watcher saw {seen}")


threads = [threading.Thread(target=call, args=[number]) for number in range(CHANNELS)]
threads.append(threading.Thread(target=stream))
threads.append(threading.Thread(target=watch))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
(folder / "acked").write_text("\n".join(acked))
sys.exit(f"{troubles}" if troubles else 0)
