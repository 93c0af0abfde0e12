"""
The configuration, checked by its schema: one sentence for each key that is wrong.
"""

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError


def check_config():
    """Stop with the names of the keys that are unknown, missing or of the wrong kind."""
    with open(
        f"{workflow.basedir}/workflow/schemas/config.schema.yaml", encoding="utf-8"
    ) as handle:
        schema = yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    wrong = [
        f"{'.'.join(map(str, error.absolute_path)) or 'the configuration'}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(config)
    ]
    if wrong:
        raise WorkflowError(
            "the configuration cannot be used. "
            + "; ".join(sorted(wrong))
            + ". See config/default.yaml for every key."
        )


check_config()
