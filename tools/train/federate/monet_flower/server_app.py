"""The server: rounds of one of Flower's strategies, with each site sent the global weights once a
round, whole or as int8 updates.

A round: sites train from the global weights that they hold; the strategy makes one set of weights
of what they answer, running statistics of batch normalisation included; the new global weights go
to the sites, which score them on their validation subjects and hold them for the next round. Only
the first round's training message therefore carries weights itself, as one does to a site that is
new or whose last answer is missing.

The terms of a federation, `federation.json` in the run's folder, say which strategy, and what of
secure aggregation (`secure`) and differential privacy (`private`) is added.

A site that fails is left out of its round. The round is lost where

    no answer can be used,
    secure aggregation cannot open the sum,
    the server adds noise, and an answer is missing of those that the noise was made for.

A lost round leaves the global weights as they are. Where sites' answers are masked or privacy is
asked for, the next round begins, and `PATIENCE` lost ones after another end the run; elsewhere one
lost round ends it.
"""

import json
import sys
import time
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import Strategy

from . import private, strategies, weights
from .grids import Counting
from .secure import Secure

app = ServerApp()

# So many rounds lost one after another end the run: what is wrong does not pass by itself.
PATIENCE = 3


@app.main()
def main(grid, context):
    """A federation over the network."""
    Rounds(Path(str(context.run_config["run"]))).go(grid)


class Failed(RuntimeError):
    """The federation cannot go on."""


class Rounds(Strategy):
    """A federation over a run's folder: reads its settings, terms and first weights, keeps its
    newest weights and `rounds.json` there.

    Where a site fails, the round goes on with the others, unless the server adds noise. With `keep`
    every weight file of every round is kept in the run's folder.
    """

    def __init__(self, run, *, keep=False):
        self.run, self.keep = run, keep
        read = lambda name: json.loads((run / name).read_text())
        self.settings, self.terms = read("run.json"), read("federation.json")
        self.update = self.terms["update"]
        self.rounds = -(-self.settings["steps"] // self.settings["epoch"])
        self.inner = strategies.of(self.terms)
        self.core = private.strategy(self.inner, self.terms)
        self.log, self.lost = [], 0
        # The global weights as the sites have them, their number, who holds which, and the update
        # that led to them.
        self.tensors, self.version, self.held, self.newest = (
            weights.read(run / "best.safetensors"),
            0,
            {},
            None,
        )
        self.announced = None

    def go(self, grid):
        """All rounds."""
        self.counting = self.grid = Counting(grid)
        if self.terms["secure"]:
            self.grid = Secure(self.counting, lambda: self.tensors)
        self.start(
            self.grid,
            weights.whole(self.tensors),
            num_rounds=self.rounds,
            timeout=self.terms["timeout"],
        )

    def summary(self):
        self.core.summary()

    def configure_train(self, server_round, arrays, config, grid):
        self.log.append({"round": server_round, "sites": {}, "dice": {}})
        if server_round > 1:
            strategies.least(self.inner, self.terms["quorum"])
        config["step"] = (server_round - 1) * self.settings["epoch"]
        if self.terms["privacy"] == "central":
            self.core.num_sampled_clients = self.present(grid)
        try:
            messages = list(
                self.core.configure_train(server_round, self.in_units(arrays), config, grid)
            )
        except ValueError as error:
            # A site has come or gone in between.
            return self.lose(f"{error}") or []
        return self.address(messages, arrays)

    def aggregate_train(self, server_round, replies):
        if "lost" in self.log[-1]:
            return None, None
        valid, why = self.receive(replies, "train", self.decode)
        if not valid:
            self.lose(why)
            return None, None
        for site, reply in valid.items():
            self.store(
                weights.of_whole(reply.content["arrays"]), f"site_{site.replace('/', '-of-')}"
            )
            reply.content["arrays"] = self.in_units(reply.content["arrays"])
        arrays, metrics = self.core.aggregate_train(server_round, list(valid.values()))
        if arrays is None:
            self.lose(why or "a site's answer is missing, and the noise was made for all")
            return None, None
        if self.terms["privacy"] == "central":
            arrays = weights.whole(private.restored(weights.of_whole(arrays), self.tensors))
        self.store(weights.of_whole(arrays), "mean")
        self.lost = 0
        return arrays, metrics

    def configure_evaluate(self, server_round, arrays, config, grid):
        if "lost" in self.log[-1]:
            return []
        if not self.terms["scores"]:
            self.announce(arrays)
            return []
        return self.address(
            list(self.core.configure_evaluate(server_round, arrays, config, grid)), arrays
        )

    def aggregate_evaluate(self, server_round, replies):
        entry, metrics = self.log[-1], None
        valid, why = self.receive(replies, "evaluate", lambda reply: None)
        if valid:
            metrics = self.core.aggregate_evaluate(server_round, list(valid.values()))
            entry["dice"] = {
                k.removeprefix("dice/"): v for k, v in metrics.items() if k.startswith("dice/")
            }
        elif self.terms["scores"] and "lost" not in entry:
            print(
                f"the weights of round {server_round} have no scores: {why}",
                file=sys.stderr,
                flush=True,
            )
        self.end(server_round)
        return metrics

    def end(self, server_round):
        """Keeps what a round ended with, and says it."""
        entry = self.log[-1]
        if self.terms["privacy"]:
            entry["epsilon"] = self.epsilon()
        self.store(self.tensors, "global")
        weights.write(self.tensors, self.run / "best.safetensors")
        part = self.run / "rounds.part"
        part.write_text(json.dumps({"update": self.update, "rounds": self.log}, indent=1))
        part.replace(self.run / "rounds.json")
        told = [f"round {server_round} of {self.rounds}"]
        if "lost" in entry:
            told.append(f"lost, the weights stay as they were: {entry['lost']}")
        if entry["dice"]:
            dice = "  ".join(f"{name} {value:.4f}" for name, value in entry["dice"].items())
            told.append(f"Dice on the sites' validation subjects: {dice}")
        if "epsilon" in entry:
            told.append(f"ε {entry['epsilon']:.4g} at δ {self.terms['delta']:g}")
        print("  ".join(told), file=sys.stderr, flush=True)
        if self.lost >= PATIENCE:
            raise Failed(
                f"{self.lost} rounds one after another were lost, the last: {entry['lost']}"
            )

    def lose(self, why):
        """Notes that the round is lost. Where nothing protects the answers, no answer at all ends
        the run."""
        if not (self.terms["secure"] or self.terms["privacy"]):
            raise Failed(why)
        self.log[-1]["lost"], self.lost = why, self.lost + 1

    def epsilon(self):
        """ε so far. A site's noise is spent with what it sends, the server's with what is made of
        it."""
        if self.terms["privacy"] == "central":
            return self.core.privacy_spent().epsilon
        return private.spent(self.terms, len(self.log))

    def present(self, grid):
        """How many sites are there, once enough are."""
        while (found := len(list(grid.get_node_ids()))) < self.inner.min_available_nodes:
            time.sleep(1)
        return found

    def in_units(self, arrays):
        """Weights as the server's clipping and noise see them."""
        if self.terms["privacy"] != "central":
            return arrays
        return weights.whole(private.measured(weights.of_whole(arrays), self.tensors))

    def announce(self, arrays):
        """Makes arrays the global weights. Rounded updates are added up at both ends alike, so that
        all hold the same bits."""
        if arrays is self.announced:
            return
        tensors = weights.of_whole(arrays)
        if self.version > 0 and self.update == weights.INT8:
            self.newest = weights.update(tensors, self.tensors)
            tensors = weights.of_update(self.newest, self.tensors)
        self.announced, self.tensors, self.version = arrays, tensors, self.version + 1

    def address(self, messages, arrays):
        """Gives each site's message what that site lacks of the global weights."""
        self.announce(arrays)
        texts = {name: (self.run / name).read_text() for name in ("run.json", "task.toml")}
        told = ("secure", "privacy", "clip", "noise", "scores")
        terms = {name: self.terms[name] for name in told}
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
            config = ConfigRecord({**message.content["config"], **about, **terms, **texts})
            message.content = RecordDict({"arrays": sent, "config": config})
            # Until the site answers, nobody knows what it holds.
            self.held.pop(node, None)
        return messages

    def receive(self, replies, kind, decode):
        """The usable replies by site, in the order of their names, decoded, and why others are not;
        who answers holds the weights."""
        valid = {}
        counted, failures = self.counting.take()
        for node, bytes_ in counted.items():
            entry = self.log[-1]["sites"].setdefault(node, {"site": str(node)})
            entry.update(
                {f"{kind}_{direction}": count for direction, count in bytes_.items() if count}
            )
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                continue
            site = str(reply.content["about"]["site"]) or str(node)
            if site in valid:
                site = f"{site}@{node}"
            try:
                decode(reply)
            except (ValueError, KeyError) as error:
                failures.append(f"site {site}: {error}")
                continue
            valid[site] = reply
            self.held[node] = self.version
            entry = self.log[-1]["sites"][node]
            entry["site"] = site
            entry.update(
                {f"{kind}_{k}".replace("-", "_"): v for k, v in reply.content["metrics"].items()}
            )
        for failure in failures:
            print(f"left out of this round: {failure}", file=sys.stderr, flush=True)
        why = "; ".join(filter(None, [self.grid.lost, *failures]))
        return dict(sorted(valid.items())), why or ("" if valid else "no site answered")

    def decode(self, reply):
        """Replaces what a site sent by its weights, checked."""
        record = reply.content["arrays"]
        # The sum of masked differences is a whole already.
        known = self.update == weights.INT8 and not self.terms["secure"]
        tensors = weights.of_update(record, self.tensors) if known else weights.of_whole(record)
        weights.same_topology(tensors, self.tensors)
        reply.content["arrays"] = weights.whole(tensors)

    def store(self, tensors, name):
        if self.keep:
            folder = self.run / f"round_{self.log[-1]['round']}"
            folder.mkdir(exist_ok=True)
            weights.write(tensors, folder / f"{name}.safetensors")
