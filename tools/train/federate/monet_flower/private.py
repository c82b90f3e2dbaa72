"""Differential privacy: Flower's strategies, clipping and noise; ε by Google's accountant, through
Flower.

What is clipped and noised is a site's whole update in a round, so that ε protects a whole site: its
part in the federation.

    central:  the server clips (of masked sums each site does), averages and adds noise z·C/n
    site:     each site clips and adds noise z·C before it sends anything

All sites weigh the same. Running statistics of batch normalisation change by far more than what is
trained: in `units` they are parts of the global variance, so that one norm can be clipped for all.
"""

import numpy as np
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
)
from flwr.supercore.differential_privacy import (
    add_gaussian_noise_inplace,
    compute_clip_model_update,
)
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

# Of batch normalisation, which adds it to a variance before the root.
EPSILON = 1e-5

# In parts of themselves variances change about so many times as much in a round as all that is
# trained (measured: 5 to 1).
VARIANCES = np.float32(8)

# Noise may take away so much of a variance in a round, and no more.
LEAST_PART = 0.25


def units(held):
    """What a value of each tensor is measured in."""
    scales = {}
    for name, tensor in held.items():
        if name.endswith("/var"):
            scales[name] = VARIANCES * (tensor + np.float32(EPSILON))
        elif name.endswith("/mean"):
            scales[name] = np.sqrt(held[name.removesuffix("mean") + "var"] + np.float32(EPSILON))
        else:
            scales[name] = np.float32(1)
    return scales


def measured(tensors, held):
    """Tensors in the units that `held` gives."""
    scales = units(held)
    return {name: (tensor / scales[name]).astype(np.float32) for name, tensor in tensors.items()}


def restored(tensors, held):
    """Tensors back from the units that `held` gives; variances stay positive."""
    scales = units(held)
    found = {name: (tensor * scales[name]).astype(np.float32) for name, tensor in tensors.items()}
    for name in found:
        if name.endswith("/var"):
            found[name] = np.maximum(found[name], LEAST_PART * held[name])
    return found


def accountant(terms):
    """Counts ε over rounds without subsampling, as every site takes part in each."""
    relation, sampling = NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION
    return RdpAccountant(PrivacyConfig(terms["delta"], terms["sites"], relation, sampling))


def spent(terms, rounds):
    """ε of so many rounds."""
    found, sites = accountant(terms), terms["sites"]
    found.compose(GaussianPrivacyEvent(terms["noise"], sites, sites), rounds)
    return found.get_epsilon(terms["delta"])


def strategy(inner, terms):
    """The strategy with the server's part in the terms' privacy around it."""
    if terms["privacy"] != "central":
        return inner
    # Of a masked sum the server cannot clip the parts.
    kind = (
        DifferentialPrivacyClientSideFixedClipping
        if terms["secure"]
        else DifferentialPrivacyServerSideFixedClipping
    )
    noise, clip, sites = terms["noise"], terms["clip"], terms["sites"]
    return kind(inner, noise, clip, sites, accountant=accountant(terms))


def at_site(config, trained, held):
    """The site's part: its weights clipped, with noise where that is asked for."""
    noised = config["privacy"] == "site"
    if not (noised or config["secure"]):
        return trained
    base, found = measured(held, held), measured(trained, held)
    parts = [found[name] for name in base]
    compute_clip_model_update(parts, list(base.values()), config["clip"])
    if noised:
        add_gaussian_noise_inplace(parts, config["noise"] * config["clip"])
    return restored(dict(zip(base, parts, strict=True)), held)
