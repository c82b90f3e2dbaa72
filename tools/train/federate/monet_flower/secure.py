"""Secure aggregation: Flower's SecAgg+ around the same messages, so that the server sees only sums.

A message of ours becomes four of the protocol's: keys are made and exchanged, their shares handed
round, the message itself goes to each site, and what comes back is masked; the masks cancel in the
sum. Masked are the difference to the global weights, loss and Dice, and the number of examples that
weighs them; in clear are the names of the figures and who takes part.

    server, `Secure`:  message -> SecAggPlusWorkflow, 4 stages -> the weighted mean, as every reply
    site, `at_site`:   stage -> secaggplus_mod -> (third stage) the answer to the message, masked

Flower's masks come from a 32-bit seed, which a server could try out; here both ends draw them from
ChaCha20 with all of the seed.
"""

import hashlib
import importlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import (
    ndarray_to_bytes,
    bytes_to_ndarray,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.common.typing import Code, FitIns, FitRes, Parameters, Status
from flwr.compat.common import recorddict_compat as compat
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.server.compat.legacy_context import LegacyContext

from . import weights
from .grids import Between

# Functions of the same names hide both modules in their packages.
site_half = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
server_half = importlib.import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")

# Fewer would not hide one site from another: of two that know the sum, each knows the other.
LEAST = 3

# A site with more training slices than this counts as one with so many.
HEAVIEST = 1 << 14

# Where all sites weigh the same, each counts as one with so many.
EQUAL = HEAVIEST // 8

# In scores a subject counts as so many slices: figures are near 1, and need no range, but digits.
SUBJECT = 64

# A value, times its site's part of HEAVIEST, lies within this on either side.
RANGE = 128.0

MODULUS = 1 << 32


def steps(sites):
    """Steps that RANGE is divided into: as many as let the sum of all sites stay below the
    modulus."""
    return 1 << (31 - (sites - 1).bit_length())


def threshold(sites):
    """Sites whose shares open a sum: more than half, so that two halves cannot be opened apart."""
    return max(LEAST, sites // 2 + 1)


def masks(seed, modulus, shapes):
    """The same masks at both ends: ChaCha20's key stream (RFC 8439), keyed by the seed's
    SHA-256."""
    if modulus != MODULUS:
        raise ValueError(f"masks are 32 bits wide, the server asks for a modulus of {modulus}")
    # Each seed is used once, so that the nonce need not differ.
    stream = Cipher(
        algorithms.ChaCha20(hashlib.sha256(seed).digest(), bytes(16)), mode=None
    ).encryptor()
    draw = lambda shape: np.frombuffer(
        stream.update(bytes(4 * int(np.prod(shape)))), "<u4"
    ).reshape(shape)
    return [draw(shape).astype(np.int64) for shape in shapes]


site_half.pseudo_rand_gen = server_half.pseudo_rand_gen = masks


class Secure(Between):
    """A grid whose messages are answered by the mean of all sites, which no site's answer can be
    told from.

    `base` gives the global weights that the sites' differences are added to. A round that cannot be
    opened has no answers; `lost` then says why.
    """

    def __init__(self, grid, base):
        super().__init__(grid)
        self.base = base

    def send_and_receive(self, messages, *, timeout=None):
        messages, self.lost = list(messages), ""
        if not messages:
            return []
        if len(messages) < LEAST:
            self.lost = f"{len(messages)} site(s) are there, secure aggregation needs {LEAST}"
            return []
        bridge = Bridge(messages)
        workflow = Forgiving(
            num_shares=1.0,
            reconstruction_threshold=threshold(len(messages)),
            max_weight=float(HEAVIEST),
            clipping_range=RANGE,
            quantization_range=steps(len(messages)),
            modulus_range=MODULUS,
            timeout=timeout,
        )
        try:
            workflow(self.grid, bridge.context())
        # Missing shares, keys and sums show in many ways in the workflow; each leaves the round
        # unopened.
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            self.lost = f"the sum could not be opened: {type(error).__name__}: {error}"
            return []
        if bridge.mean is None:
            self.lost = "too few sites answered to open the sum"
        return bridge.replies(self.base())


class Forgiving(server_half.SecAggPlusWorkflow):
    """Flower's workflow, which lets a site drop out before it has handed out shares of its keys,
    too: then nobody has masked anything with it, and nobody can be asked for its shares."""

    def setup_stage(self, grid, context, state):
        return self.without_the_gone(state, super().setup_stage(grid, context, state))

    def share_keys_stage(self, grid, context, state):
        return self.without_the_gone(state, super().share_keys_stage(grid, context, state))

    def without_the_gone(self, state, goes_on):
        state.sampled_node_ids = set(state.active_node_ids)
        near = state.nid_to_neighbours
        state.nid_to_neighbours = {
            node: near[node] & state.active_node_ids for node in state.active_node_ids
        }
        return goes_on


class Bridge:
    """What the workflow takes for a strategy: gives it our messages, takes its mean."""

    def __init__(self, messages):
        self.messages = {message.metadata.dst_node_id: message for message in messages}
        self.mean, self.about = None, {}

    def context(self):
        """Of one round of the workflow."""
        state = RecordDict({"config": ConfigRecord({"current_round": 1})})
        state["parameters"] = weights.whole({})
        own = Context(run_id=0, node_id=0, node_config={}, state=state, run_config={})
        return LegacyContext(own, strategy=self, client_manager=self)

    def num_available(self):
        return len(self.messages)

    def configure_fit(self, server_round, parameters, manager):
        empty = lambda: Parameters(tensors=[], tensor_type="")
        sent = lambda m: {
            "content": recorddict_to_proto(m.content).SerializeToString(),
            "kind": m.metadata.message_type,
        }
        return [
            (Node(node), FitIns(empty(), sent(message))) for node, message in self.messages.items()
        ]

    def aggregate_fit(self, server_round, results, failures):
        for node, answer in results:
            self.about[node.node_id] = answer.metrics
            self.mean = parameters_to_ndarrays(answer.parameters)
        return None, {}

    def replies(self, base):
        """The mean as each site's reply."""
        if self.mean is None:
            return []
        *differences, figures = self.mean
        replies = []
        for node, about in sorted(self.about.items()):
            named = dict(zip(filter(None, about["figures"].split("\n")), figures.tolist()))
            content = RecordDict({"metrics": MetricRecord({"num-examples": 1, **named})})
            content["about"] = ConfigRecord({"site": about["site"]})
            if differences:
                pairs = zip(base.items(), differences, strict=True)
                content["arrays"] = weights.whole(
                    {name: (held + d).astype(np.float32) for (name, held), d in pairs}
                )
            replies.append(Message(content, reply_to=self.messages[node]))
        return replies


class Node:
    """What the workflow takes for a client: a number."""

    def __init__(self, node_id):
        self.node_id = node_id


def at_site(message, context, call_next):
    """A stage of the protocol, or a message as it is where the site does not insist on masks."""
    if RECORD_KEY_CONFIGS not in message.content.config_records:
        if context.node_config.get("secure"):
            raise ValueError(
                "this site takes part in secure aggregation only (--secure), "
                "the server asks without"
            )
        return call_next(message, context)
    config = message.content.config_records[RECORD_KEY_CONFIGS]
    if (
        config[Key.STAGE] == Stage.SETUP
        and min(config[Key.SAMPLE_NUMBER], config[Key.THRESHOLD]) < LEAST
    ):
        raise ValueError(f"the server would open a sum of fewer than {LEAST} sites")
    masked = config[Key.STAGE] == Stage.COLLECT_MASKED_VECTORS
    reply = site_half.secaggplus_mod(message, context, lambda m, c: answer(m, c, call_next))
    if masked:
        # The weight is among what is masked: it need not be told as well.
        reply.content["fitres.num_examples"] = MetricRecord({"num_examples": 1})
        sums = reply.content[RECORD_KEY_CONFIGS]
        # Masked values are below the modulus: half of Flower's bytes hold them.
        narrow = [
            ndarray_to_bytes(bytes_to_ndarray(part).astype(np.uint32))
            for part in sums[Key.MASKED_PARAMETERS]
        ]
        sums[Key.MASKED_PARAMETERS] = narrow
    return reply


def answer(stage, context, call_next):
    """The site's answer to the message inside a stage, as the protocol masks it."""
    sent = stage.content["fitins.config"]
    inside = Message(
        recorddict_from_proto(ProtoRecordDict.FromString(sent["content"])),
        stage.metadata.dst_node_id,
        sent["kind"],
    )
    reply = call_next(inside, context)
    metrics = dict(sorted(reply.content["metrics"].items()))
    examples = int(metrics.pop("num-examples"))
    held = weights.of_whole(context.state["weights"])
    arrays = weights.of_whole(reply.content["arrays"]) if "arrays" in reply.content else {}
    examples = min(examples if arrays else examples * SUBJECT, HEAVIEST)
    parts = [np.float64(trained) - held[name] for name, trained in arrays.items()]
    parts.append(np.array(list(metrics.values()), np.float64))
    widest = (
        max((float(np.abs(part).max()) for part in parts if part.size), default=0.0)
        * examples
        / HEAVIEST
    )
    if not widest <= RANGE:
        raise ValueError(
            f"a difference of the weights is {widest:.3g} in masks' units, which reach to {RANGE}"
        )
    about = {"site": reply.content["about"]["site"], "figures": "\n".join(metrics)}
    result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(parts), examples, about)
    return Message(compat.fitres_to_recorddict(result, keep_input=True), reply_to=stage)
