import gc

import pytest


@pytest.fixture(autouse=True, scope="package")
def fewer_objects():
    """Each trial of a search collects garbage; what is imported need not be looked at again."""
    import transformers.image_processing_backends  # noqa: F401

    import searchhub.data.loading
    import searchhub.evaluators.supernet
    import searchhub.networks.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
