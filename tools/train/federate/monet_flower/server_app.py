"""The server: Flower's FedAvg, with each site sent the global weights once a round, whole or as int8 updates, and all bytes counted.

A round: sites train from the global weights that they hold; FedAvg averages what they answer, weighted by their numbers of training
slices, batch normalisation's running statistics included; the new global weights go to the sites, which score them on their
validation subjects and hold them for the next round. Only the first round's training message therefore carries weights itself,
as one does to a site that is new or whose last answer is missing.
"""

import json
import sys
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from . import weights

app = ServerApp()


@app.main()
def main(grid, context):
    """A federation over the network."""
    config = context.run_config
    run, timeout = Path(str(config["run"])), float(config["timeout"])
    strategy = Rounds(run, int(config["sites"]), str(config["update"]))
    strategy.start(grid, strategy.initial(), num_rounds=strategy.rounds, timeout=timeout)


class Failed(RuntimeError):
    """The federation cannot go on."""


class Rounds(FedAvg):
    """FedAvg over a run's folder: reads its settings and first weights, keeps its newest weights and `rounds.json` there.

    Where a site fails, the round goes on with the others. With `keep` every weight file of every round is kept in the run's folder.
    """

    def __init__(self, run, sites, update, *, keep=False):
        super().__init__(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites)
        self.run, self.update, self.keep = run, update, keep
        self.settings = json.loads((run / "run.json").read_text())
        self.rounds = -(-self.settings["steps"] // self.settings["epoch"])
        self.log = []
        # The global weights as the sites have them, their number, who holds which, and the update that led to them.
        self.tensors, self.version, self.held, self.newest = weights.read(run / "best.safetensors"), 0, {}, None
        self.announced = None

    def initial(self):
        """The first weights."""
        return weights.whole(self.tensors)

    def configure_train(self, server_round, arrays, config, grid):
        self.log.append({"round": server_round, "sites": {}})
        config["step"] = (server_round - 1) * self.settings["epoch"]
        return self.address(super().configure_train(server_round, arrays, config, grid), arrays, "train")

    def aggregate_train(self, server_round, replies):
        valid = self.receive(replies, "train", self.decode)
        for site, reply in valid.items():
            self.store(weights.of_whole(reply.content["arrays"]), f"site_{site.replace('/', '-of-')}")
        arrays, metrics = super().aggregate_train(server_round, list(valid.values()))
        self.store(weights.of_whole(arrays), "mean")
        return arrays, metrics

    def configure_evaluate(self, server_round, arrays, config, grid):
        return self.address(super().configure_evaluate(server_round, arrays, config, grid), arrays, "evaluate")

    def aggregate_evaluate(self, server_round, replies):
        valid = self.receive(replies, "evaluate", lambda reply: None)
        metrics = super().aggregate_evaluate(server_round, list(valid.values()))
        entry = self.log[-1]
        entry["dice"] = {k.removeprefix("dice/"): v for k, v in metrics.items() if k.startswith("dice/")}
        self.store(self.tensors, "global")
        weights.write(self.tensors, self.run / "best.safetensors")
        part = self.run / "rounds.part"
        part.write_text(json.dumps({"update": self.update, "rounds": self.log}, indent=1))
        part.replace(self.run / "rounds.json")
        dice = "  ".join(f"{name} {value:.4f}" for name, value in entry["dice"].items())
        print(f"round {server_round} of {self.rounds}  Dice on the sites' validation subjects: {dice}", file=sys.stderr, flush=True)
        return metrics

    def announce(self, arrays):
        """Makes arrays the global weights. Rounded updates are added up at both ends alike, so that all hold the same bits."""
        if arrays is self.announced:
            return
        tensors = weights.of_whole(arrays)
        if self.version > 0 and self.update == weights.INT8:
            self.newest = weights.update(tensors, self.tensors)
            tensors = weights.of_update(self.newest, self.tensors)
        self.announced, self.tensors, self.version = arrays, tensors, self.version + 1

    def address(self, messages, arrays, kind):
        """Gives each site's message what that site lacks of the global weights."""
        self.announce(arrays)
        texts = {name: (self.run / name).read_text() for name in ("run.json", "task.toml")}
        messages = list(messages)
        for message in messages:
            node = message.metadata.dst_node_id
            base = self.held.get(node, 0)
            if base == self.version:
                sent = ArrayRecord()
            elif base == self.version - 1 and self.newest is not None:
                sent = self.newest
            else:
                base, sent = 0, weights.whole(self.tensors)
            about = {"version": self.version, "base": base, "update": self.update}
            config = ConfigRecord({**message.content["config"], **about, **texts})
            message.content = RecordDict({"arrays": sent, "config": config})
            # Until the site answers, nobody knows what it holds.
            self.held.pop(node, None)
            self.count(node, f"{kind}_down", weights.size(message.content))
        return messages

    def receive(self, replies, kind, decode):
        """The usable replies by site, in the order of their names, decoded; who answers holds the global weights."""
        valid, failures = {}, []
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                failures.append(f"node {node}: {reply.error.reason}")
                continue
            site = str(reply.content["about"]["site"]) or str(node)
            if site in valid:
                site = f"{site}@{node}"
            self.count(node, f"{kind}_up", weights.size(reply.content))
            try:
                decode(reply)
            except (ValueError, KeyError) as error:
                failures.append(f"site {site}: {error}")
                continue
            valid[site] = reply
            self.held[node] = self.version
            entry = self.log[-1]["sites"][node]
            entry["site"] = site
            entry.update({f"{kind}_{k}".replace("-", "_"): v for k, v in reply.content["metrics"].items()})
        for failure in failures:
            print(f"left out of this round: {failure}", file=sys.stderr, flush=True)
        if not valid:
            raise Failed("; ".join(failures) or "no site answered")
        return dict(sorted(valid.items()))

    def decode(self, reply):
        """Replaces what a site sent by its weights, checked."""
        record = reply.content["arrays"]
        known = self.update == weights.INT8
        tensors = weights.of_update(record, self.tensors) if known else weights.of_whole(record)
        weights.same_topology(tensors, self.tensors)
        reply.content["arrays"] = weights.whole(tensors)

    def count(self, node, name, size):
        self.log[-1]["sites"].setdefault(node, {"site": str(node)})[name] = size

    def store(self, tensors, name):
        if self.keep:
            folder = self.run / f"round_{self.log[-1]['round']}"
            folder.mkdir(exist_ok=True)
            weights.write(tensors, folder / f"{name}.safetensors")
