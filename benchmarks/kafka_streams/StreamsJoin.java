import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
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
import org.apache.kafka.streams.kstream.ValueJoiner;

/**
 * The join of predictions and labels as Kafka Streams does it: inner, by key, within a window of event time.
 *
 * <p>With "bytes", values stay bytes all the way, and an outcome is both values side by side: no JSON is read or made.
 * That is less than a real application does. With "json", they are objects that Jackson reads and writes, in topics and
 * stores, and an outcome has fields of both.
 *
 * <p>Commands come on stdin: "start LOOP" and "stop"; with the end of stdin the program ends. One Java process so runs
 * several joins, one after the other, and is warm after the first.
 *
 * <p>Arguments: bootstrap servers, folder of the state, window in ms, "bytes" or "json", and then properties as
 * NAME=VALUE.
 */
public final class StreamsJoin {
    private static final byte[] BEFORE = "{\"prediction\":".getBytes(StandardCharsets.UTF_8);
    private static final byte[] BETWEEN = ",\"label\":".getBytes(StandardCharsets.UTF_8);

    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final int OPTIONS = 4;

    private StreamsJoin() {}

    /** What an application needs of a prediction. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Prediction {
        public String key;
        public String id;
        public long time;
        public String version;
        public boolean eligible;
        public double weight;
        public Map<String, Double> outputs;
        public Map<String, String> slices;
    }

    /** What an application needs of a label. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Label {
        public String key;
        public String kind;
        public String definition;
        public double value;
        public long time;
    }

    /** A label and the prediction that it is true for. */
    public static final class Outcome {
        public String key;
        public String id;
        public String kind;
        public String definition;
        public double value;
        public long predicted_at;
        public long label_time;
        public boolean eligible;
        public String version;
        public double weight;
        public Double output;
        public Map<String, String> slices;

        static Outcome of(Prediction prediction, Label label) {
            Outcome outcome = new Outcome();
            outcome.key = prediction.key;
            outcome.id = prediction.id;
            outcome.kind = label.kind;
            outcome.definition = label.definition;
            outcome.value = label.value;
            outcome.predicted_at = prediction.time;
            outcome.label_time = label.time;
            outcome.eligible = prediction.eligible;
            outcome.version = prediction.version;
            outcome.weight = prediction.weight;
            outcome.output = prediction.outputs.get(label.kind);
            outcome.slices = prediction.slices;
            return outcome;
        }
    }

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
        for (int at = OPTIONS; at < arguments.length; at++) {
            String[] parts = arguments[at].split("=", 2);
            properties.put(parts[0], parts[1]);
        }
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, loop + "-join");
        StreamsBuilder builder = new StreamsBuilder();
        JoinWindows window = JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofMillis(Long.parseLong(arguments[2])));
        if (arguments[3].equals("json")) {
            join(builder, loop, window, json(Prediction.class), json(Label.class), json(Outcome.class), Outcome::of);
        } else {
            Serde<byte[]> bytes = Serdes.ByteArray();
            join(builder, loop, window, bytes, bytes, bytes, StreamsJoin::sideBySide);
        }
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

    private static <P, L, O> void join(
            StreamsBuilder builder,
            String loop,
            JoinWindows window,
            Serde<P> prediction,
            Serde<L> label,
            Serde<O> outcome,
            ValueJoiner<P, L, O> joiner) {
        Serde<String> key = Serdes.String();
        KStream<String, P> predictions = builder.stream(loop + ".predictions", Consumed.with(key, prediction));
        KStream<String, L> labels = builder.stream(loop + ".labels", Consumed.with(key, label));
        predictions
                .join(labels, joiner, window, StreamJoined.with(key, prediction, label))
                .to(loop + ".outcomes", Produced.with(key, outcome));
    }

    private static <T> Serde<T> json(Class<T> type) {
        ObjectWriter writer = MAPPER.writerFor(type);
        ObjectReader reader = MAPPER.readerFor(type);
        return Serdes.serdeFrom(
                (topic, value) -> {
                    try {
                        return value == null ? null : writer.writeValueAsBytes(value);
                    } catch (JsonProcessingException error) {
                        throw new SerializationException(error);
                    }
                },
                (topic, bytes) -> {
                    try {
                        return bytes == null ? null : reader.readValue(bytes);
                    } catch (IOException error) {
                        throw new SerializationException(error);
                    }
                });
    }

    private static byte[] sideBySide(byte[] prediction, byte[] label) {
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
