"""What the server makes of the sites' weights: Flower's FedAvg, FedProx or FedAdam.

Running statistics of batch normalisation are averaged by all three: a step of Adam could make a
variance negative.
"""

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from . import weights


class Adam(FedAdam):
    """FedAdam on what is trained, FedAvg on running statistics."""

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            return arrays, metrics
        mean = aggregate_arrayrecords([reply.content for reply in replies], self.weighted_by_key)
        mixed = {
            name: mean[name] if weights.is_statistic(name) else array
            for name, array in arrays.items()
        }
        return ArrayRecord(mixed), metrics


def of(terms):
    """The strategy that the terms ask for, waiting for all of their sites; `least` changes that."""
    sites = terms["sites"]
    nodes = {"min_train_nodes": sites, "min_evaluate_nodes": sites, "min_available_nodes": sites}
    match terms["strategy"]:
        case "fedavg":
            return FedAvg(**nodes)
        case "fedprox":
            return FedProx(proximal_mu=terms["proximal"], **nodes)
        case "fedadam":
            return Adam(eta=terms["server_rate"], **nodes)
    raise ValueError(f"no strategy {terms['strategy']!r}")


def least(strategy, sites):
    """Has the strategy's later rounds go on with so many sites; all that are there take part."""
    strategy.min_train_nodes = strategy.min_evaluate_nodes = strategy.min_available_nodes = sites
