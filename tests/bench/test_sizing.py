from benchmarks.report import sizing


def test_cores_are_the_rate_times_the_cost_at_the_utilisation():
    assert sizing.count(1000, 0.6) == 1
    assert sizing.count(1000, 0.61) == 2
    assert sizing.count(1, 0.0) == 1


def test_tables_tell_each_service_and_the_first_kind_s_example():
    cost, example = sizing.tables({"noop": {"nats": 0.3, "worker": 1.2}, "python": {"worker": 2.0}})

    assert cost.rows == [["nats", 0.3, None], ["worker", 1.2, 2.0]]
    assert example.rows == [["nats", "cores", 1, 1, 5], ["worker", "processes", 1, 4, 20]]
    assert next(iter(sizing.tables({}))).rows == []
