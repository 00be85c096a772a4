//! Whether a call is to be heard or also to be seen.
//!
//! It refuses to understand SDP beyond the one line that says so.

use super::Invalid;

/// What a call carries, as the phone's screen shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Media {
    /// Sound, or nothing that anybody has told us of.
    #[default]
    Audio,
    /// Pictures, too.
    Video,
}

impl Media {
    /// Both, in the order of their numbers between our processes.
    pub const ALL: [Media; 2] = [Media::Audio, Media::Video];

    /// Takes `audio` or `video`, in any case; empty means audio.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Media, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "" | "audio" => Ok(Media::Audio),
            "video" => Ok(Media::Video),
            _ => Err(Invalid::new("media", "is neither audio nor video")),
        }
    }

    /// Looks into the body of an INVITE: video where a line `m=video` has a port other than 0 (RFC 8866 §5.14; with port 0 the
    /// stream is refused, RFC 3264 §6). A body without such a line, or none, is audio. The parts of a multipart body are read
    /// line by line as well.
    pub fn of_body(body: &[u8]) -> Media {
        let has_picture = |line: &[u8]| {
            let port = line.strip_prefix(b"m=video ").map(|rest| rest.trim_ascii_start());
            let number = port.and_then(|port| port.split(|b| !b.is_ascii_digit()).next());
            number.is_some_and(|number| number.iter().any(|digit| *digit != b'0'))
        };
        if body.split(|b| matches!(b, b'\n' | b'\r')).any(has_picture) { Media::Video } else { Media::Audio }
    }

    /// `audio` or `video`.
    pub fn as_str(self) -> &'static str {
        match self {
            Media::Audio => "audio",
            Media::Video => "video",
        }
    }

    /// Whether there are pictures.
    pub fn is_video(self) -> bool {
        self == Media::Video
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_audio_or_video() {
        assert_eq!(Media::parse(""), Ok(Media::Audio));
        assert_eq!(Media::parse("Video"), Ok(Media::Video));
        assert_eq!(Media::parse("sdp").unwrap_err().what, "media");
    }

    #[test]
    fn a_body_with_an_open_video_line_is_video() {
        let head = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
        for (more, expected) in [
            ("", Media::Audio),
            ("m=video 4002 RTP/AVP 96\r\n", Media::Video),
            ("m=video 0 RTP/AVP 96\r\n", Media::Audio),
            ("m=video 50002/2 RTP/SAVPF 96\r\n", Media::Video),
            ("a=m=video 4002\r\n", Media::Audio),
            ("m=video\r\n", Media::Audio),
            ("--b\nm=video 9 UDP/TLS/RTP/SAVPF 96\n", Media::Video),
        ] {
            assert_eq!(Media::of_body(format!("{head}{more}").as_bytes()), expected, "{more}");
        }
        assert_eq!(Media::of_body(&[0xff, 0]), Media::Audio);
    }
}
