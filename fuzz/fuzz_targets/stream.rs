//! Whatever a server sends, cut wherever the network likes: no panic, no endless loop, and the same events for
//! every cut. The first byte chooses the length of the pieces, the rest is what the socket delivers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbench::testing::load::{Chunk, Decoded, ResponseDecoder, SseParser};

/// The data of every event, and whether the stream went wrong.
fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = ResponseDecoder::default();
    let mut parser = SseParser::default();
    let mut buffer = Vec::new();
    let mut events = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let Ok((used, decoded)) = decoder.next(&buffer) else {
                return (events, true);
            };
            let more = match decoded {
                Decoded::NeedMore | Decoded::End => false,
                Decoded::Head(_) => true,
                Decoded::Data(data) => {
                    if parser.push(data, |e| events.push(e.data.to_vec())).is_err() {
                        return (events, true);
                    }
                    true
                }
            };
            buffer.drain(..used);
            if !more {
                break;
            }
        }
    }
    (events, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((length, stream)) = input.split_first() else {
        return;
    };
    let whole = events([stream]);
    let cut = events(stream.chunks(usize::from(*length).max(1)));
    assert_eq!(whole, cut);
    for data in &whole.0 {
        let _ = Chunk::parse(data);
    }
});
