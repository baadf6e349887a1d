"""Changes of the code, each of which breaks a guarantee, and the tests that have to notice."""

from dataclasses import dataclass

_ENGINE = "libs/noetl_engine/src/noetl_engine"
_BUS = "libs/noetl_bus/src/noetl_bus"
_ORCHESTRATOR = "services/orchestrator/src/noetl_orchestrator"
_WORKER = "services/worker/src/noetl_worker"
_CATALOG = "services/catalog/src/noetl_catalog"
_EDGE = "services/api-gateway/src/noetl_api_gateway"
_OUTBOX = "services/outbox/src/noetl_outbox"

_DEAD_CONNECTION = (
    "libs/noetl_bus/tests/test_dead_connections.py::"
    "test_a_connection_that_died_is_replaced_and_a_pull_over_it_goes_on"
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one place.

    Attributes:
        guarantee: words of ``docs/guarantees.md``, from the line that it breaks.
        file: from the top of the checkout.
        text: what is there, once.
        instead: what replaces it.
        tests: of which one at least has to fail.
    """

    guarantee: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    @property
    def source(self) -> str:
        """The folder that is copied: ``…/src``."""
        return self.file.partition("/src/")[0] + "/src"

    @property
    def package(self) -> str:
        """The package whose code is changed."""
        return self.file.partition("/src/")[2].partition("/")[0]


def _edge(name: str) -> str:
    return f"services/api-gateway/tests/{name}"


def _outbox(name: str) -> str:
    return f"services/outbox/tests/{name}"


def _catalog(name: str) -> str:
    return f"services/catalog/tests/{name}"


def _engine(name: str) -> str:
    return f"libs/noetl_engine/tests/{name}"


def _orchestrator(name: str) -> str:
    return f"services/orchestrator/tests/{name}"


def _worker(name: str) -> str:
    return f"services/worker/tests/{name}"


_LOST = (
    Mutation(
        "Accepted means committed",
        f"{_BUS}/writes/exchange.py",
        '        self._ack, self._message_id = None, ""\n\n    async def _last_answer',
        "\n    async def _last_answer",
        (_edge("upstream/test_writes.py::test_event_survives_a_wiped_store"),),
    ),
    Mutation(
        "Accepted means committed",
        f"{_OUTBOX}/recovery.py",
        "            returned = await self._return_lost(name, state)\n",
        "",
        (
            _outbox(
                "test_outages.py::"
                "test_wiped_store_gets_pending_commands_recent_events_and_messages_again"
            ),
        ),
    ),
    Mutation(
        "503 means not started",
        f"{_ORCHESTRATOR}/log/queries.sql",
        "WHERE n.deadline IS NULL OR n.deadline > clock_timestamp()",
        "WHERE TRUE",
        (
            _orchestrator(
                "turn/test_request_keys.py::test_w5_the_deadline_is_tested_again_in_the_commit"
            ),
        ),
    ),
    Mutation(
        "A decision is whole or not at all",
        f"{_ORCHESTRATOR}/log/queries.sql",
        "                AND s.position = w.expected\n            FOR UPDATE SKIP LOCKED",
        "            FOR UPDATE SKIP LOCKED",
        (
            _orchestrator("turn/test_positions.py::test_w1_two_replicas_never_fork_a_log"),
            _orchestrator(
                "turn/test_positions.py::test_w1_nothing_at_all_of_a_left_out_decision_is_written"
            ),
        ),
    ),
    Mutation(
        "A recorded result counts",
        f"{_ENGINE}/decide/claim.py",
        "    if is_lost and recorded_at(command) is not None:\n",
        "    if False and is_lost:\n",
        (
            _engine(
                "decide/test_recorded.py::test_nobody_else_gets_a_command_whose_result_is_recorded"
            ),
        ),
    ),
    Mutation(
        "Every command ends",
        f"{_ENGINE}/decide/finish.py",
        "    if used < limit and not command.once:\n",
        "    if not command.once:\n",
        (
            _orchestrator(
                "leases/test_sweeper.py::test_a_command_lost_too_often_fails_with_its_reason"
            ),
        ),
    ),
    Mutation(
        "Every command ends",
        f"{_ENGINE}/decide/finish.py",
        '    if state.ended:\n        text = f"Cannot cancel execution in {state.status} state"\n',
        '    if False:\n        text = f"Cannot cancel execution in {state.status} state"\n',
        (
            _engine("decide/test_ingest.py::test_a_finished_execution_can_not_be_cancelled"),
            _engine("properties/test_properties.py::test_there_is_one_end_and_nothing_after_it"),
        ),
    ),
    Mutation(
        "Every command ends",
        f"{_ORCHESTRATOR}/log/queries.sql",
        "                WHEN p.handed_for IS NOT NULL THEN 0\n",
        "                WHEN p.handed_for IS NOT NULL THEN 86400\n",
        (
            _orchestrator(
                "publishing/test_handed_commands.py::"
                "test_w25_what_was_handed_to_a_worker_that_died_is_published"
            ),
        ),
    ),
)

_ONCE = (
    Mutation(
        "a start with `Idempotency-Key`",
        f"{_ORCHESTRATOR}/ingress/decode.py",
        "        keys.append(RequestKey(scope, key, idempotency_seconds, _fingerprint(message)))\n",
        "",
        (
            _orchestrator(
                "turn/test_request_keys.py::test_w5_a_repeated_request_finds_the_first_execution"
            ),
        ),
    ),
    Mutation(
        "a time of a schedule",
        f"{_CATALOG}/schedules/launch.py",
        "        execution_id=firing.execution_id or 0,\n        catalog_id=",
        "        execution_id=0,\n        catalog_id=",
        (
            _catalog(
                "schedules/test_firing.py::"
                "test_a_replica_that_ends_before_the_answer_is_taken_over_without_a_second_execution"
            ),
            _catalog(
                "schedules/test_firing.py::"
                "test_a_start_without_an_answer_is_sent_again_under_its_id"
            ),
        ),
    ),
    Mutation(
        "a message of a subscription",
        f"{_WORKER}/subscriptions/settling.py",
        "                self._parts.circuit.failed(reason)\n                continue\n",
        "                self._parts.circuit.failed(reason)\n                break\n",
        (
            _worker(
                "subscriptions/test_runtime.py::test_w19_an_outage_leaves_messages_at_the_source"
            ),
        ),
    ),
    Mutation(
        "`on_failure` and triggers",
        f"{_ORCHESTRATOR}/publishing/effects.py",
        "                for one in effects.followups\n",
        "                for one in [*effects.followups, *effects.followups]\n",
        (
            _orchestrator(
                "turn/test_followups.py::test_a_failure_starts_its_handlers_in_the_commit_of_the_end"
            ),
        ),
    ),
    Mutation(
        "a signal with an id",
        f"{_ORCHESTRATOR}/ingress/decode.py",
        '        key = RequestKey(scope, f"{message.name}:{message.signal_id}", '
        "idempotency_seconds)\n        turn_input.request_keys = (key,)\n",
        "        turn_input.request_keys = ()\n",
        (
            _orchestrator(
                "turn/test_waits.py::test_w5_a_signal_has_one_effect_however_often_it_comes"
            ),
        ),
    ),
    Mutation(
        "a child that a step starts",
        f"{_ORCHESTRATOR}/leases/children.sql",
        "        AND c.is_open\n    ORDER BY k.child_id\n    LIMIT 1\n",
        "        AND FALSE\n    ORDER BY k.child_id\n    LIMIT 1\n",
        (
            _orchestrator(
                "leases/test_children.py::"
                "test_the_kth_start_of_a_new_run_finds_the_kth_child_of_the_run_before"
            ),
        ),
    ),
    Mutation(
        "a step's outcome",
        f"{_ENGINE}/lease.py",
        "    if attempts is not None and attempts != command.attempts:\n        return False\n",
        "",
        (
            _orchestrator(
                "leases/test_holds.py::test_l1_runs_of_one_worker_id_are_told_apart_by_attempts"
            ),
        ),
    ),
    Mutation(
        "a step's outcome",
        f"{_ORCHESTRATOR}/turn/unit_of_work.py",
        "            if decision.events:\n                self._note_wish(",
        "            if True:\n                self._note_wish(",
        (
            _orchestrator(
                "publishing/test_handed_commands.py::test_a_copy_without_effect_gets_no_command"
            ),
        ),
    ),
    Mutation(
        "the same event posted again",
        f"{_ENGINE}/decide/rows.py",
        "    if kept is not None and kept >> 1 == mark:\n",
        "    if False:\n",
        (
            _engine(
                "decide/test_ingest.py::test_a_repeated_event_has_one_effect_and_the_same_answer"
            ),
        ),
    ),
    Mutation(
        "the result of a start that a web page waits for",
        f"{_EDGE}/upstream/pages/requests.py",
        "        if await self._first(page_result_of(request.request_id)) is None:\n",
        "        if False:\n",
        (
            _edge(
                "routes/web_ui/test_page_requests.py::"
                "test_p5_what_is_posted_while_a_page_is_away_is_kept_for_it"
            ),
        ),
    ),
)

_TWICE = (
    Mutation(
        "Silence while the edge, the catalog or the database was away doesn't count",
        f"{_ENGINE}/lease.py",
        "    if facts.workers is None:\n        return None\n",
        '    if facts.workers is None:\n        return "lease_expired"\n',
        (
            _orchestrator(
                "leases/test_sweeper.py::"
                "test_l3_no_worker_is_judged_while_heartbeats_cannot_be_heard"
            ),
        ),
    ),
    Mutation(
        "Silence while the edge, the catalog or the database was away doesn't count",
        f"{_ORCHESTRATOR}/leases/worker_liveness.py",
        "            self._catalog_since = now\n        catalog_since",
        "            self._catalog_since = self._catalog_since or now\n        catalog_since",
        (
            _orchestrator(
                "leases/test_worker_liveness.py::"
                "test_l3_after_an_outage_all_workers_get_time_to_be_heard"
            ),
        ),
    ),
    Mutation(
        "and the first run had not yet said that it began",
        f"{_WORKER}/transports/fast/transport.py",
        "            and delivery.num_delivered == 1\n",
        "",
        (_worker("transports/test_nats.py::test_a_command_in_doubt_is_claimed"),),
    ),
    Mutation(
        "and the first run had not yet said that it began",
        f"{_WORKER}/transports/fast/transport.py",
        "        run.following = following\n        message.settle()\n",
        "        run.following = following\n",
        (
            _worker(
                "transports/test_requests.py::"
                "test_what_is_answered_as_the_time_is_up_is_not_sent_again"
            ),
            _worker("transports/test_requests.py::test_commands_follow_with_the_answers"),
        ),
    ),
    Mutation(
        "A worker that stops in good order",
        f"{_ENGINE}/lease.py",
        "    if left_at is not None and left_at >= claimed_at - allowance:\n",
        "    if False:\n",
        (
            _engine(
                "decide/test_leases.py::test_what_a_stopped_worker_gives_back_uses_up_no_attempt"
            ),
        ),
    ),
    Mutation(
        "Then a lost command ends as `Outcome unknown`",
        f"{_ENGINE}/decide/claim.py",
        "    if command.once or attempts_used(",
        "    if attempts_used(",
        (_engine("decide/test_once.py::test_a_lost_command_is_given_to_nobody_else"),),
    ),
)

_CANCEL = (
    Mutation(
        "no step is begun",
        f"{_ENGINE}/decide/worker.py",
        "    if draft.state.ended:\n        return\n    draft.trigger",
        "    draft.trigger",
        (_engine("test_reference_defects.py::test_d8_nothing_follows_a_cancel"),),
    ),
    Mutation(
        "no step is begun",
        f"{_ENGINE}/decide/claim.py",
        "    if state.ended or command.parked is not None:\n",
        "    if command.parked is not None:\n",
        (_engine("decide/test_leases.py::test_a_command_that_an_end_left_open_is_refused"),),
    ),
    Mutation(
        "no step is begun",
        f"{_ENGINE}/decide/draft.py",
        "        if command.awaits and command.holds:\n",
        "        if False:\n",
        (
            _orchestrator(
                "leases/test_children.py::test_a_cancel_goes_on_to_the_child_that_is_waited_for"
            ),
        ),
    ),
    Mutation(
        "`cascade` reaches",
        f"{_ORCHESTRATOR}/turn/unit_of_work.py",
        "            self.effects.cascades = True\n",
        "            pass\n",
        (
            _orchestrator(
                "leases/test_children.py::"
                "test_a_child_without_a_waiting_parent_continues_unless_the_cancel_cascades"
            ),
        ),
    ),
    Mutation(
        "Workers hear of it with the answer",
        f"{_ORCHESTRATOR}/turn/attempt.py",
        "            await self._stop_runs(unit)\n        # First",
        "        # First",
        (_orchestrator("leases/test_runs.py::test_of_an_execution_that_ends_nothing_is_begun"),),
    ),
    Mutation(
        "Workers hear of it with the answer",
        f"{_WORKER}/transports/runs.py",
        "            or command.execution_id in self._ended\n",
        "",
        (_worker("transports/test_ends.py::test_what_waits_in_the_queue_is_not_begun"),),
    ),
    Mutation(
        "A worker whose connection was broken meanwhile asks",
        f"{_WORKER}/transports/fast/transport.py",
        "            and self._hearing.covers(delivery.stream_sequence)\n",
        "",
        (
            _worker(
                "transports/test_ends.py::test_what_was_stored_before_the_connection_is_claimed"
            ),
        ),
    ),
    Mutation(
        "A worker whose connection was broken meanwhile asks",
        f"{_WORKER}/transports/fast/transport.py",
        "        following.breaks = run.breaks\n",
        "        following.breaks = self._hearing.breaks\n",
        (
            _worker(
                "transports/test_ends.py::"
                "test_what_came_with_an_answer_before_the_connection_is_claimed"
            ),
        ),
    ),
    Mutation(
        "Tools that run are stopped",
        f"{_WORKER}/transports/runs.py",
        "        run.task.cancel()\n",
        "",
        (
            _worker(
                "transports/test_ends.py::test_what_runs_is_stopped_although_nobody_was_told_of_it"
            ),
        ),
    ),
    Mutation(
        "A deadline and a step's time limit do the same",
        f"{_ENGINE}/decide/finish.py",
        "    if not is_due:\n        return\n",
        "    if is_due:\n        return\n",
        (
            _orchestrator(
                "leases/test_timers.py::test_w10_a_step_timeout_is_a_row_and_ends_the_command"
            ),
        ),
    ),
)

_RESTART = (
    Mutation(
        "Nothing that was done is done again",
        f"{_ENGINE}/restart/take_over.py",
        "        elif not _fits(draft, run):\n",
        "        elif run.step:\n",
        (
            _orchestrator(
                "turn/test_restarts.py::test_the_failed_iterations_of_a_large_loop_run_again"
            ),
        ),
    ),
)

_AWAY = (
    Mutation(
        "those that it ran are handed out again",
        f"{_ORCHESTRATOR}/leases/sweeper.py",
        "        await self._announce([one for one in orphans if one not in exhausted])\n",
        "",
        (
            _orchestrator(
                "leases/test_sweeper.py::"
                "test_l4_a_new_process_under_the_old_name_orphans_its_commands_at_once"
            ),
        ),
    ),
    Mutation(
        "is given back for another worker, if nothing of it has begun",
        f"{_ENGINE}/decide/worker.py",
        "    if error is not None and may_be_given_back(command):\n",
        "    if False:\n",
        (
            _engine(
                "decide/test_leases.py::test_a_command_whose_tool_never_began_is_anybody_s_at_once"
            ),
        ),
    ),
    Mutation(
        "another takes over, at once or after a lease of seconds",
        f"{_ORCHESTRATOR}/ingress/spill_reader.py",
        "                await self._handler.take_here([delivery])\n                return\n",
        "                return\n",
        (
            _orchestrator(
                "ingress/test_owners.py::"
                "test_w23_what_an_owner_does_not_answer_is_decided_here_as_a_repetition"
            ),
        ),
    ),
    Mutation(
        "starts and posted events go to the orchestrators directly",
        f"{_BUS}/writes/exchange.py",
        "            self._is_requested = not self._sender.stores\n",
        "            self._is_requested = False\n",
        (
            _edge(
                "upstream/test_writes.py::"
                "test_w21_a_write_that_no_stream_acknowledges_goes_to_the_orchestrators"
            ),
        ),
    ),
    Mutation(
        "commands wait in the outbox",
        f"{_OUTBOX}/relay.py",
        "                await self._publish_claimed(rows)\n",
        "",
        (
            _outbox(
                "test_relay.py::"
                "test_a_command_of_which_nobody_knows_whether_it_is_stored_is_left_to_the_sweep"
            ),
        ),
    ),
    Mutation(
        "outcomes, starts of sub-playbooks and readings of results wait at the workers",
        f"{_WORKER}/transports/fast/messages.py",
        '                    _log.warning("outcome_not_stored", event_id=event_id, '
        "error=error.message)\n                    continue\n",
        '                    _log.warning("outcome_not_stored", event_id=event_id, '
        "error=error.message)\n                    return\n",
        (_worker("transports/test_over_edge.py::test_an_outcome_is_posted_until_it_is_taken"),),
    ),
    Mutation(
        "that one leaves its executions to the other within some six seconds",
        f"{_ORCHESTRATOR}/replicas/withdrawal.py",
        "        self.is_on = True\n",
        "",
        (
            _orchestrator(
                "replicas/test_withdrawal.py::"
                "test_who_is_away_withdraws_for_one_that_has_just_reached_it"
            ),
        ),
    ),
    Mutation(
        "so it is replaced within some five seconds",
        f"{_BUS}/probe.py",
        "        dead.abort()\n",
        "        pass\n",
        (_DEAD_CONNECTION,),
    ),
    Mutation(
        "lists say 503 instead of being short",
        f"{_EDGE}/upstream/services.py",
        "        return await asyncio.gather(*asked)\n",
        "        found = await asyncio.gather(*asked, return_exceptions=True)\n"
        "        return [one for one in found if not isinstance(one, Exception)]\n",
        (_edge("routes/internal/test_demand.py::test_the_demand_of_a_pool_is_that_of_all_shards"),),
    ),
    Mutation(
        "nothing runs twice because of it",
        f"{_ORCHESTRATOR}/turn/turns.py",
        "            self._forget(groups)\n            _mark_repeated(groups)\n            ids",
        "            ids",
        (
            _orchestrator(
                "turn/test_unknown_commits.py::test_w8_a_lost_commit_answer_leads_to_one_effect"
            ),
            _orchestrator(
                "turn/test_unknown_commits.py::test_w8_a_failed_commit_leaves_no_ghost_in_memory"
            ),
        ),
    ),
)

_NOT_PROMISED = (
    Mutation(
        "Results of a loop are in the order of its elements",
        f"{_ENGINE}/state/values.py",
        "        ordered = [known[index] for index in sorted(known)]\n",
        "        ordered = [known[index] for index in sorted(known, reverse=True)]\n",
        (_engine("decide/test_loops.py::test_the_result_is_in_index_order_with_the_data"),),
    ),
    Mutation(
        "An execution keeps the version of the playbook that it began with",
        f"{_ORCHESTRATOR}/catalog/playbooks.py",
        "            self._kept.move_to_end(catalog_id)\n        return found\n",
        "            self._kept.move_to_end(catalog_id)\n        return None\n",
        (
            _orchestrator(
                "catalog/test_playbooks.py::"
                "test_s5_the_pinned_version_is_used_whatever_the_catalog_says_later"
            ),
        ),
    ),
)

MUTATIONS = (*_LOST, *_ONCE, *_TWICE, *_CANCEL, *_RESTART, *_AWAY, *_NOT_PROMISED)
