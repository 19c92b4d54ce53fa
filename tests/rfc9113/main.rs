//! RFC 9113 sentence by sentence, on the wire: a scripted peer sends bytes, right and wrong, and
//! waits for exactly the reaction that the RFC names. One file a section, one test a requirement.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod independent;
#[cfg(test)]
mod s10_security;
#[cfg(test)]
mod s3_starting;
#[cfg(test)]
mod s4_frames;
#[cfg(test)]
mod s5_1_stream_states;
#[cfg(test)]
mod s5_2_flow_control;
#[cfg(test)]
mod s5_4_errors;
#[cfg(test)]
mod s6_1_data;
#[cfg(test)]
mod s6_2_headers;
#[cfg(test)]
mod s6_3_priority_rst;
#[cfg(test)]
mod s6_5_settings;
#[cfg(test)]
mod s6_6_push_ping_goaway;
#[cfg(test)]
mod s6_9_window_update;
#[cfg(test)]
mod s8_messages;
#[cfg(test)]
mod s8_requests;
#[cfg(test)]
mod s8_responses;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
