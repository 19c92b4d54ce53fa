//! Every test of this folder on every engine it concerns: written once, run for each.
//!
//! `client` tests have our channel and a scripted server, `server` tests a scripted client and our
//! server; `pair` tests have both, of which at most one side is foreign. What is not run on an
//! engine stands here with `except` and the reason, and nowhere else.

use crate::link::Faults;
use crate::memory_pair::{On, SILENT, UNARY, raw, router};
use crate::peer::Peer;
use framewire::error::{Kind, Processed};
use framewire::server::DrainReport;
use framewire::transport::BoxedIo;
use framewire::transport::in_memory;
use framewire::unstable::connection::dispatch::Dispatch;
use framewire::unstable::connection::engine::{self, ConnectionEngine, EngineTask, Intake};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::Code;
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::sync::Arc;
use std::time::Duration;

/// The runs of one test: `$on` names a side of [`On`].
macro_rules! run {
    ($module:ident $test:ident: $($name:ident $on:ident),*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                crate::$module::$test(crate::memory_pair::On::$on).await;
            }
        )*
    };
}

/// Which engines a test concerns, but for those that are excepted.
macro_rules! runs {
    (client $m:ident $t:ident) => { run!($m $t: framewire FRAMEWIRE, h2_client H2_CLIENT); };
    (server $m:ident $t:ident) => { run!($m $t: framewire FRAMEWIRE, h2_server H2_SERVER); };
    (pair $m:ident $t:ident) => {
        run!($m $t: framewire FRAMEWIRE, h2_client H2_CLIENT, h2_server H2_SERVER);
    };
    (client $m:ident $t:ident h2_client) => { run!($m $t: framewire FRAMEWIRE); };
    (server $m:ident $t:ident h2_server) => { run!($m $t: framewire FRAMEWIRE); };
    (pair $m:ident $t:ident h2_client) => {
        run!($m $t: framewire FRAMEWIRE, h2_server H2_SERVER);
    };
    (pair $m:ident $t:ident h2_server) => {
        run!($m $t: framewire FRAMEWIRE, h2_client H2_CLIENT);
    };
}

macro_rules! engines {
    ($module:ident: $($side:ident $test:ident $(except $engine:ident: $why:literal)?;)*) => {
        mod $module {
            $(
                mod $test {
                    runs!($side $module $test $($engine)?);
                }
            )*
        }
    };
}

engines! { bodies:
    server a_request_over_the_limit_is_answered_413;
    server the_limit_of_requests_is_that_of_messages_by_default;
    server no_request_opens_its_window_by_its_first_bytes
        except h2_server: "it opens no window ahead of a message";
    client a_response_over_the_limit_ends_the_call;
    client a_response_within_the_limit_is_whole;
}

engines! { cancel:
    client before_there_is_a_connection;
    client while_queued_for_the_stream_limit;
    client on_a_stream_the_peer_is_told_once;
    client a_thousand_cancels_leak_no_window;
    pair a_thousand_cancels_of_our_own_pair_leave_it_as_it_was;
    client either_half_of_a_stream_cancels_it;
}

engines! { connections:
    client a_closed_channel_cuts_what_outlives_its_limit;
    client a_goaway_moves_what_was_not_processed;
    client a_graceful_goaway_in_two_steps_loses_nothing;
    client a_stream_whose_request_is_not_kept_is_told_that_it_was_not_processed;
    client a_refused_stream_is_tried_again;
    client any_other_reset_is_not_tried_again;
    pair drains_under_load_lose_nothing_and_repeat_nothing;
    pair a_server_that_is_dropped_goes_on;
    pair a_stream_ends_in_peace_while_its_server_drains;
    client back_off_holds_when_the_peer_accepts_and_closes;
    pair a_call_that_waits_for_ready_outlives_failed_dials;
    client a_call_that_meets_a_dead_connection_moves;
    client a_connection_that_is_dead_on_arrival_is_a_failed_dial;
    client the_states_of_a_channel;
    client a_lost_connection_tells_its_calls_and_the_next_call_dials_anew;
}

engines! { deadline:
    client while_the_dial_never_ends
        except h2_client: "no engine begins before the dial has ended";
    client while_queued_for_the_stream_limit;
    client while_the_stream_window_is_closed;
    client while_the_connection_window_is_closed
        except h2_client: "h2 does not tell which window is closed: the phase is StreamWindow";
    client while_the_socket_takes_nothing
        except h2_client: "h2 writes the preface before it takes a call: nothing of it was sent";
    client while_the_server_is_silent;
    client in_the_middle_of_the_response;
    pair a_stream_has_one_deadline_for_the_whole;
    server the_server_drops_the_handler_and_answers;
    pair a_deadline_that_has_passed_sends_nothing;
    client the_timeline_adds_up_to_the_wall_time;
    pair a_stream_that_ends_in_time_is_left_alone;
}

engines! { heads:
    client a_page_ends_the_call_at_its_head;
    client a_message_behind_a_good_head_has_a_limit;
    client a_page_whose_connection_is_lost;
}

engines! { kept:
    client a_stream_moves_with_what_it_has_sent;
    client every_kind_of_stream_moves;
    client a_sender_that_waits_moves_along;
    client a_stream_that_has_sent_more_than_is_kept_stays;
    client the_channel_has_a_bound_for_all;
    client a_large_request_moves_if_there_is_room_for_it;
    client a_goaway_in_the_middle_of_a_burst;
}

engines! { kinds:
    pair the_four_kinds;
    pair a_link_of_single_bytes_gives_the_same;
    pair a_slow_link_gives_the_same;
    pair metadata_goes_both_ways;
    pair streaming_metadata_comes_before_the_messages_and_behind_them;
    pair a_status_carries_message_details_and_metadata;
    pair a_method_that_nobody_serves_is_unimplemented;
    pair a_panic_ends_its_call_and_nothing_else;
    pair plain_http_stands_beside_the_methods;
    pair interceptors_see_every_call_on_both_sides;
    client a_request_head_is_what_grpc_says;
    client a_request_head_has_the_order_of_grpc
        except h2_client: "h2 has an order of its own, which RFC 9113 §8.3 leaves it";
}

engines! { limits:
    pair a_message_over_the_limit_is_refused_on_its_prefix;
    pair what_is_sent_has_a_limit_too;
    pair what_is_received_has_a_limit_in_every_kind;
    pair a_flag_that_is_neither_0_nor_1;
    pair a_compressed_flag_without_an_encoding;
    pair an_encoding_nobody_knows;
    pair a_stream_that_ends_inside_a_message;
    pair none_or_more_than_one_message_where_there_is_one;
    pair a_small_message_that_inflates_over_the_limit;
    pair compressed_messages_go_both_ways;
    server heads_that_are_not_served;
    pair a_request_without_an_end_waits;
}

engines! { many:
    pair more_calls_than_the_peer_allows;
    pair large_messages_on_a_hundred_streams_through_small_windows;
    pair small_messages_on_a_hundred_streams_through_a_small_window;
    client a_bulk_stream_leaves_room_for_small_calls;
    client a_window_that_becomes_negative;
    server padding_is_credited;
}

engines! { panics:
    pair of_every_kind_end_their_call_alone;
    pair of_a_codec_leave_no_part_of_a_message;
    pair of_a_plain_handler_are_500;
}

engines! { refusals:
    server a_grpc_client_reads_a_status;
    server a_grpc_client_reads_a_status_for_what_is_malformed
        except h2_server: "`h2` answers or resets such a stream itself";
    server another_client_reads_an_http_status;
    server no_content_where_there_can_be_none;
    server a_status_that_cannot_be_sent_is_500;
    server details_are_sent_up_to_the_clients_limit_or_said_to_be_dropped
        except h2_server: "`h2` does not tell the client's limit";
}

engines! { retry_streams:
    client a_server_streaming_call_is_tried_again_before_its_response_begins;
    client a_response_that_has_begun_is_final;
    client a_bidi_call_repeats_what_it_has_sent_in_order;
    client a_sender_alone_keeps_the_call_going;
    client a_call_that_has_sent_more_than_is_kept_is_settled;
    client the_server_says_when_or_never;
    client the_throttle_stops_retries_of_streams;
    client the_deadline_holds_for_all_attempts;
    client a_call_given_up_in_the_pause_is_not_sent_again;
    client an_error_speaks_for_all_attempts;
    client the_timeline_covers_all_attempts;
}

engines! { streaming:
    client a_sender_waits_above_64_kib;
    pair a_sender_goes_on_whatever_its_messages_measure;
    client an_early_status_ends_a_pending_send;
    server a_reset_drops_the_handler;
    server a_lost_connection_drops_the_handlers;
    server a_deadline_drops_the_handler_in_the_middle_of_its_answer;
    pair a_detached_handler_runs_on;
    pair a_handler_knows_deadline_and_cancellation;
    pair a_reply_after_the_caller_has_gone_is_cancelled;
    pair the_server_may_answer_before_it_has_read_everything;
    pair a_stream_for_a_unary_answer_wants_exactly_one;
    pair a_request_that_never_ends_has_a_deadline_on_the_server_too;
}

/// The engine that is configured is the one that drives, on the side for which it is.
#[tokio::test(start_paused = true)]
async fn the_engine_that_is_named_drives() {
    for (on, pseudo) in [(On::FRAMEWIRE, ":path"), (On::H2_CLIENT, ":authority")] {
        let (channel, mut listener) = on.lone_channel(PoolOptions::new(), Faults::default());
        let call = tokio::spawn(async move { channel.unary(&UNARY, raw("")).await });
        let mut peer = Peer::accept(&mut listener, &[]).await;
        // The third field tells the two apart.
        assert_eq!(peer.next(FrameType::Headers).await.fields[2].0, pseudo, "{on:?}");
        peer.answer(1, b"").await;
        call.await.unwrap().unwrap();
    }
    for (on, window) in [(On::FRAMEWIRE, true), (On::H2_SERVER, false)] {
        let mut setup = on.setup(router());
        setup.server.limits.frame_bytes = 32_768;
        let mut peer = Peer::dial(&setup.start().connector).await;
        let settings = peer.next(FrameType::Settings).await.payload;
        let names = settings.chunks(6).map(|entry| u16::from_be_bytes([entry[0], entry[1]]));
        // SETTINGS_MAX_FRAME_SIZE is ours alone.
        assert_eq!(names.into_iter().any(|name| name == 5), window, "{on:?}");
    }
}

/// An engine that takes no call and leaves.
#[derive(Debug)]
struct Idle;

impl ConnectionEngine for Idle {
    fn client(&self, _io: BoxedIo, intake: Intake, _options: ConnectionOptions) -> EngineTask {
        Box::pin(async move { drop(intake) })
    }

    fn server(
        &self,
        _io: BoxedIo,
        intake: Intake,
        _options: ConnectionOptions,
        _dispatch: Arc<dyn Dispatch>,
    ) -> EngineTask {
        Box::pin(async move { drop(intake) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_leaves_strands_nobody() {
    let mut setup = On::FRAMEWIRE.setup(router());
    setup.client.engine = engine::custom(Idle);
    let pair = setup.start();
    let error = pair.channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::No), "{error}");
    assert!(pair.channel.unstable_handles().is_empty());

    let (connector, listener) = in_memory(64);
    let server =
        On::FRAMEWIRE.server(router()).engine(engine::custom(Idle)).serve(listener).unwrap();
    let channel = On::FRAMEWIRE.channel().connector(connector).build().unwrap();
    channel.unary(&UNARY, raw("")).await.unwrap_err();
    assert_eq!(server.shutdown(Duration::from_secs(5)).await, DrainReport::default());
}

/// A runtime that ends takes its connections along, whoever drives them: every call ends.
#[test]
fn a_dropped_runtime_ends_its_calls() {
    for on in [On::FRAMEWIRE, On::H2_CLIENT] {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let first = runtime();
        let mut setup = on.setup(router());
        setup.server.limits.concurrent_streams = 1;
        let pair = first.block_on(async { setup.start() });
        // One on its stream, one that waits for it.
        let mut calls = [(); 2].map(|()| Box::pin(pair.channel.unary(&SILENT, raw(""))));
        first.block_on(async {
            pair.channel.unary(&UNARY, raw("")).await.unwrap();
            for call in &mut calls {
                let sent = tokio::time::timeout(Duration::from_millis(100), call).await;
                assert!(sent.is_err(), "it hangs");
            }
        });
        drop(first);
        for call in calls {
            let error = runtime().block_on(call).unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{on:?}: {error}");
        }
    }
}
