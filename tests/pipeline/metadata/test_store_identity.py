from pipeline.metadata.store_identity import store_identity


def test_a_root_keeps_its_identity_and_shares_it_with_no_other(tmp_path):
    first = store_identity(str(tmp_path / "a"))
    assert len(first) == 16
    assert store_identity(str(tmp_path / "a")) == first
    assert store_identity(str(tmp_path / "b")) != first


def test_a_remote_root_is_its_own_identity():
    assert store_identity("gs://bucket/runs/") == "gs://bucket/runs"
