"""A federation in one process: the same server and client, with messages serialized and handed from
one to the other, site after site.

Flower's own simulation wants Ray, 200 MB that bring parallel workers; a trainer uses all cores by
itself, so sites in parallel would be no faster here. What travels is nevertheless serialized and
read again, so that its bytes are those of a network.
"""

import argparse
import logging
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS
from flwr.common.serde import message_from_proto, message_to_proto, recorddict_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from . import client_app
from .server_app import Failed, Rounds


class LocalGrid(Grid):
    """Flower's network with sites that are called one after another; node k is the k-th.

    A site that `absent` says is, when it gets a message, never answers it.
    """

    def __init__(self, nodes, wire=None, absent=lambda node, message: False):
        self.contexts = {
            k: Context(run_id=1, node_id=k, node_config=node, state=RecordDict(), run_config={})
            for k, node in enumerate(nodes, 1)
        }
        self.wire, self.sent, self.absent = wire, 0, absent
        # Who messages are from, as Flower's own processes say when they start.
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        raise NotImplementedError("sites are called, nothing waits")

    def pull_messages(self, message_ids):
        raise NotImplementedError("sites are called, nothing waits")

    def send_and_receive(self, messages, *, timeout=None):
        # In the order of sites: FedAvg draws them in a random one.
        return [
            self.call(message) for message in sorted(messages, key=lambda m: m.metadata.dst_node_id)
        ]

    def call(self, message):
        """One site's reply; its failure is the simulation's, but in secure aggregation, which goes
        on without it."""
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        self.sent += 1
        message.metadata.__dict__["_message_id"] = str(self.sent)
        arrived = self.transport(message, f"{self.sent:04}_site_{node}_{kind}_down")
        if self.absent(node, arrived):
            return Message(
                Error(ErrorCode.NODE_UNAVAILABLE, "the site does not answer"), reply_to=arrived
            )
        try:
            reply = client_app.app(arrived, self.contexts[node])
        except Exception as error:
            if RECORD_KEY_CONFIGS in arrived.content:
                return Message(
                    Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{error}"), reply_to=arrived
                )
            raise Failed(f"site {self.contexts[node].node_config['site']}: {error}") from error
        return self.transport(reply, f"{self.sent:04}_site_{node}_{kind}_up")

    def transport(self, message, name):
        """The message after its way as bytes; its content's bytes are kept where asked for."""
        if self.wire:
            (self.wire / name).write_bytes(recorddict_to_proto(message.content).SerializeToString())
        return message_from_proto(
            ProtoMessage.FromString(message_to_proto(message).SerializeToString())
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--deal", default="")
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--options", default="")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    wire = given.run / "wire" if given.keep else None
    if wire:
        wire.mkdir()
    rounds = Rounds(given.run, keep=given.keep)
    node = {
        "data": given.data,
        "trainer": given.trainer,
        "options": given.options,
        "deal": given.deal,
    }
    sites = rounds.terms["sites"]
    nodes = [node | {"site": f"{k}/{sites}"} for k in range(1, sites + 1)]
    try:
        rounds.go(LocalGrid(nodes, wire))
    except Failed as failure:
        raise SystemExit(f"{failure}") from None


if __name__ == "__main__":
    main()
