// The service that sends every text back in capital letters, of any script.

import type { Service } from "./service.ts";

export const upper: Service = {
  message(session, message) {
    session.send(message.text().toUpperCase());
  },
};
