"""HTTP as the contract spells it: bodies, parameters, answers, refusals, descriptions."""
