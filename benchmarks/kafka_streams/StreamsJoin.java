import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KafkaStreams.State;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;

/**
 * The join of predictions and labels as Kafka Streams does it: inner, by key, within a window of event time.
 *
 * <p>Values stay bytes all the way, and an outcome is both values side by side: no JSON is read or made. That is
 * less than a real application does. Commands come on stdin: "start LOOP" and "stop"; with the end of stdin the
 * program ends. One Java process so runs several joins, one after the other, and is warm after the first.
 *
 * <p>Arguments: bootstrap servers, folder of the state, window in ms, and then properties as NAME=VALUE.
 */
public final class StreamsJoin {
    private static final byte[] BEFORE = "{\"prediction\":".getBytes(StandardCharsets.UTF_8);
    private static final byte[] BETWEEN = ",\"label\":".getBytes(StandardCharsets.UTF_8);

    private StreamsJoin() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        KafkaStreams streams = null;
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("start")) {
                streams = start(arguments, words[1]);
                System.out.println("started");
            } else if (streams != null) {
                streams.close();
                streams = null;
                System.out.println("stopped");
            }
        }
        if (streams != null) {
            streams.close();
        }
    }

    private static KafkaStreams start(String[] arguments, String loop) throws InterruptedException {
        Properties properties = new Properties();
        for (int at = 3; at < arguments.length; at++) {
            String[] parts = arguments[at].split("=", 2);
            properties.put(parts[0], parts[1]);
        }
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, loop + "-join");
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, byte[]> consumed = Consumed.with(Serdes.String(), Serdes.ByteArray());
        KStream<String, byte[]> predictions = builder.stream(loop + ".predictions", consumed);
        KStream<String, byte[]> labels = builder.stream(loop + ".labels", consumed);
        JoinWindows window = JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofMillis(Long.parseLong(arguments[2])));
        StreamJoined<String, byte[], byte[]> joined =
                StreamJoined.with(Serdes.String(), Serdes.ByteArray(), Serdes.ByteArray());
        predictions
                .join(labels, StreamsJoin::outcome, window, joined)
                .to(loop + ".outcomes", Produced.with(Serdes.String(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        CountDownLatch running = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == State.RUNNING) {
                running.countDown();
            }
        });
        streams.start();
        running.await();
        return streams;
    }

    private static byte[] outcome(byte[] prediction, byte[] label) {
        byte[] value = new byte[BEFORE.length + prediction.length + BETWEEN.length + label.length + 1];
        System.arraycopy(BEFORE, 0, value, 0, BEFORE.length);
        System.arraycopy(prediction, 0, value, BEFORE.length, prediction.length);
        int at = BEFORE.length + prediction.length;
        System.arraycopy(BETWEEN, 0, value, at, BETWEEN.length);
        System.arraycopy(label, 0, value, at + BETWEEN.length, label.length);
        value[value.length - 1] = '}';
        return value;
    }
}
