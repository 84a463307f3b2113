//! A STUN server: tells whoever asks which address the question came from.

use std::net::SocketAddr;
use tokio::net::UdpSocket;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

pub(crate) async fn serve(socket: UdpSocket) {
    let mut buf = [0; 1500];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buf).await else { return };
        if let Some(answer) = answer(&buf[..len], from) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    if request.len() < 20 || request[..2] != [0, 1] || request[4..8] != COOKIE {
        return None;
    }
    let transaction = &request[8..20];
    let mut value = vec![0];
    let port = from.port() ^ 0x2112;
    match from {
        SocketAddr::V4(v4) => {
            value.push(1);
            value.extend_from_slice(&port.to_be_bytes());
            value.extend(v4.ip().octets().iter().zip(COOKIE).map(|(a, b)| a ^ b));
        }
        SocketAddr::V6(v6) => {
            value.push(2);
            value.extend_from_slice(&port.to_be_bytes());
            value.extend(v6.ip().octets().iter().zip(COOKIE.iter().chain(transaction)).map(|(a, b)| a ^ b));
        }
    }
    let mut out = vec![1, 1];
    out.extend_from_slice(&(value.len() as u16 + 4).to_be_bytes());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out.extend_from_slice(&0x0020u16.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(&value);
    Some(out)
}
