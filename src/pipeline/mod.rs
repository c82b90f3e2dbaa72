//! Read → prepare → infer → restore → write, over bounded queues.
